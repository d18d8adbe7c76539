"""Headers of safetensors files, made here: what an engine loads of them, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.checkpoints.safetensors import Tensor, header_length, loaded_bytes, tensors
from profiles.fields import FieldError
from profiles.memory.ledger import memory_parts
from profiles.settings import EngineSettings

LLAMA = builtin().model("meta-llama/Llama-3.2-1B")
BF16 = EngineSettings(dtype="bfloat16")


def header(**entries: tuple[str, list[int]]) -> bytes:
    content = {
        name.replace("__", "."): {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, (dtype, shape) in entries.items()
    }
    return json.dumps({"__metadata__": {"format": "pt"}, **content}).encode()


def test_names_types_and_sizes_are_read() -> None:
    found = tensors("a.safetensors", header(b__weight=("BF16", [2, 3]), a__scale=("F32", [])))
    assert found == (Tensor("a.scale", "F32", 1, 4), Tensor("b.weight", "BF16", 6, 12))
    assert header_length("a", (123).to_bytes(8, "little")) == 123


def test_floats_are_cast_and_formats_and_scales_are_kept() -> None:
    found = tensors(
        "a",
        header(
            model__layers__0__mlp__weight=("F8_E4M3", [10, 10]),
            model__layers__0__mlp__weight_scale=("F32", [10]),
            model__norm__weight=("F32", [10]),
            model__layers__99__mlp__weight=("BF16", [1000]),
            model__layers__0__rotary_emb__inv_freq=("F32", [64]),
            lm_head__weight=("BF16", [5, 5]),
        ),
    )
    # Llama-3.2-1B has 16 layers and tied embeddings: neither the 99th layer nor the output head is loaded.
    assert loaded_bytes(found, LLAMA, BF16) == 100 + 40 + 20


def test_the_ledger_takes_the_files_weights_per_rank() -> None:
    settings = EngineSettings(tensor_parallel_size=2)
    gpu = builtin().gpu("H100")
    whole = memory_parts(LLAMA, gpu, settings)
    smaller = memory_parts(LLAMA, gpu, settings, checkpoint_bytes=1e9)
    assert smaller.weights_bytes < whole.weights_bytes
    assert smaller.activation_bytes == whole.activation_bytes
    assert smaller.weights_bytes == pytest.approx(0.5e9 + 131072 * 64 * 2, rel=0.01)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"a": 1}', "a: must be a mapping"),
        (b'{"a": {"dtype": "Q3", "shape": [1]}}', "a.dtype: must be one of"),
        (b'{"a": {"dtype": "F16", "shape": [-1]}}', "a.shape: must be whole numbers"),
        (b'{"a": {"dtype": "F16"}}', "a.shape: missing"),
    ],
)
def test_wrong_headers_name_file_and_field(raw: bytes, expected: str) -> None:
    with pytest.raises(FieldError, match=f"x.safetensors: .*{expected}"):
        tensors("x.safetensors", raw)


@pytest.mark.parametrize("prefix", [b"", b"1234567", bytes(8), b"\xff" * 8])
def test_other_files_are_refused(prefix: bytes) -> None:
    with pytest.raises(FieldError, match=r"x: header"):
        header_length("x", prefix)


@given(st.binary(max_size=64))
def test_no_bytes_end_in_a_traceback(raw: bytes) -> None:
    try:
        header_length("x", raw[:8])
        tensors("x", raw[8:])
    except FieldError as error:
        assert str(error).startswith("x: ")  # noqa: PT017 -- whether it is raised depends on the bytes
