"""Headers of safetensors files: which tensors a checkpoint holds, and how many bytes an engine makes of them.

A file begins with eight bytes, the little-endian length of the header, and the header as JSON: name -> {dtype, shape, data_offsets}
(huggingface/safetensors, README, "Format"). Nothing here reads files: give the bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from profiles.fields import FieldError, Fields
from profiles.models import Architecture
from profiles.precision import dtype_bytes
from profiles.settings import EngineSettings

PREFIX_BYTES = 8
# The limit of the format's own reader (huggingface/safetensors, MAX_HEADER_SIZE).
MAX_HEADER_BYTES = 100_000_000
# Bits per element (huggingface/safetensors, Dtype).
_BITS_OF_TYPES = {
    4: ("F4",),
    6: ("F6_E2M3", "F6_E3M2"),
    8: ("BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8"),
    16: ("BF16", "F16", "I16", "U16"),
    32: ("F32", "I32", "U32"),
    64: ("C64", "F64", "I64", "U64"),
}
_ELEMENT_BITS = {name: bits for bits, names in _BITS_OF_TYPES.items() for name in names}
# Elements that an engine casts to its own dtype; quantised formats and their scales are kept as they are.
_CAST = frozenset({"F16", "BF16", "F32", "F64"})
_KEPT = re.compile(r"scale|zero_point|qzeros|g_idx")
# Tensors that engines compute themselves or load for drafting only.
_NOT_LOADED = re.compile(r"rotary_emb\.inv_freq|(?:^|\.)mtp\.|\.embed_positions\b")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_VISION = re.compile(r"vision|visual|multi_modal_projector|mm_projector|patch_merge")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file: its name, element type, number of elements and stored bytes."""

    name: str
    dtype: str
    elements: int
    stored_bytes: int


def header_length(name: str, prefix: bytes) -> int:
    """Bytes of the header that follows the first eight; FieldError for what is no such file."""
    if len(prefix) < PREFIX_BYTES:
        raise FieldError(f"{name}: header: the file has {len(prefix)} bytes, no safetensors file is that short")
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise FieldError(f"{name}: header: its length would be {length} bytes; is it a safetensors file?")
    return length


def tensors(name: str, header: bytes) -> tuple[Tensor, ...]:
    """The tensors of one header (without the eight bytes before it), sorted by name; FieldError names file and field."""
    try:
        content = json.loads(header.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FieldError(f"{name}: header: not JSON, or cut off: {error}") from None
    if not isinstance(content, dict):
        raise FieldError(f"{name}: header: must be a JSON object")
    fields = Fields(name, content)
    return tuple(_tensor(fields.table(key), key) for key in sorted(content) if key != "__metadata__")


def _tensor(fields: Fields, name: str) -> Tensor:
    dtype = fields.text("dtype", tuple(_ELEMENT_BITS))
    shape = fields.items("shape")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise fields.error("shape", f"must be whole numbers of at least 0, is {list(shape)!r}")
    elements = math.prod(size for size in shape if isinstance(size, int))
    return Tensor(name, dtype, elements, -(-elements * _ELEMENT_BITS[dtype] // 8))


def loaded_bytes(checkpoint: Iterable[Tensor], architecture: Architecture, settings: EngineSettings) -> float:
    """Bytes that an engine on one GPU makes of a checkpoint's tensors.

    Floating-point weights are cast to the engine's dtype, quantised ones and scales kept. The second of tied embeddings, layers beyond the
    model's (drafting) and rotary tables are not loaded.
    """
    element_bytes = dtype_bytes(architecture, settings)
    total_bytes = 0.0
    for tensor in checkpoint:
        if _skipped(tensor.name, architecture):
            continue
        cast = tensor.dtype in _CAST and not _KEPT.search(tensor.name)
        total_bytes += tensor.elements * element_bytes if cast else tensor.stored_bytes
    return total_bytes


def _skipped(name: str, architecture: Architecture) -> bool:
    if _NOT_LOADED.search(name) or (architecture.tie_embeddings and name.endswith("lm_head.weight")):
        return True
    layer = _LAYER.search(name)
    return layer is not None and not _VISION.search(name) and int(layer[1]) >= architecture.layers
