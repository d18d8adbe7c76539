"""What a config.json says about the format of its weights."""

from __future__ import annotations

from profiles.fields import Fields
from profiles.unquantized import module_patterns

# Methods that name their format outright (vllm/model_executor/layers/quantization).
PLAIN_METHODS = {"awq": "awq", "fbgemm_fp8": "fp8", "fp8": "fp8", "mxfp4": "mxfp4"}
# Four-bit formats: where experts exist, only they are counted as quantised, which errs on the large side.
EXPERT_QUANTS = ("int4", "mxfp4", "nvfp4")
# (bits, type) of compressed-tensors weights (its documentation, quantization schemes).
COMPRESSED = {(4, "float"): "nvfp4", (4, "int"): "int4", (8, "float"): "fp8", (8, "int"): "int8"}
# quant_algo of NVIDIA's ModelOpt checkpoints (vllm/model_executor/layers/quantization/modelopt.py).
MODELOPT = {"FP8": "fp8", "NVFP4": "nvfp4"}

# Keys that list what is not quantised: fp8, awq and gptq; compressed-tensors; vLLM's own; ModelOpt (their classes in
# vllm/model_executor/layers/quantization).
UNQUANTIZED_KEYS = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules")


def quantization(top: Fields, text: Fields, *, moe: bool) -> tuple[str | None, str | None, tuple[str, ...]]:
    """(checkpoint_quant, quant_scope, unquantized_modules) of the model; None and nothing when its weights are not quantised."""
    holder = next((fields for fields in (top, text) if fields.has("quantization_config")), None)
    if holder is None:
        return None, None, ()
    fields = holder.table("quantization_config")
    quant = _format(fields)
    listed = tuple(pattern for key in UNQUANTIZED_KEYS for pattern in module_patterns(fields, key))
    return quant, "experts" if moe and quant in EXPERT_QUANTS else "linear", listed + _excluded(fields)


def _excluded(fields: Fields) -> tuple[str, ...]:
    """Modules that GPTQModel leaves out: keys of `dynamic` that begin with "-:" and go on as a regular expression."""
    if not fields.has("dynamic"):
        return ()
    regular = [f"re:{key[2:]}" for key in fields.table("dynamic").values if key.startswith("-:")]
    return module_patterns(Fields(fields.file, {"dynamic": regular}, fields.prefix), "dynamic")


def _format(fields: Fields) -> str:
    method = fields.text("quant_method").lower()
    if method in PLAIN_METHODS:
        return PLAIN_METHODS[method]
    if method == "gptq":
        return {4: "gptq", 8: "int8"}.get(fields.integer("bits")) or _refuse(fields, "bits")
    if method == "modelopt":
        return MODELOPT.get(fields.text("quant_algo")) or _refuse(fields, "quant_algo")
    if method == "compressed-tensors":
        return _compressed(fields)
    return _refuse(fields, "quant_method")


def _compressed(fields: Fields) -> str:
    groups = fields.table("config_groups")
    formats = set()
    for name in groups.values:
        weights = groups.table(name).table("weights")
        formats.add(COMPRESSED.get((weights.integer("num_bits"), weights.text("type"))))
    if len(formats) != 1 or None in formats:
        _refuse(fields, "config_groups")
    return str(formats.pop())


def _refuse(fields: Fields, key: str) -> str:
    raise fields.error(key, f"{fields.values.get(key)!r} is not a supported weight format")
