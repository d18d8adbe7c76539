"""From the mapping in a catalogue file to a GpuType or an Architecture; strict about keys and types."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import TypeVar

from profiles.fields import Fields
from profiles.gpu_types import LINKS, EngineTraits, GpuType, MigProfile
from profiles.model_parts import RECURRENT_KINDS, Encoder, Experts, GlobalLayers, Indexer, Mla, PerLayerInput, Recurrent, SharedKv
from profiles.models import CHECKPOINT_QUANTS, DTYPE_BYTES, QUANT_SCOPES, Architecture
from profiles.unquantized import module_patterns

GPU_KEYS = frozenset(
    {
        "name",
        "aliases",
        "memory_usable_mib",
        "memory_bandwidth_gb_per_s",
        "bf16_tflops",
        "fp8_tflops",
        "link",
        "link_gb_per_s",
        "pcie_gb_per_s",
        "sm_count",
        "compute_capability",
        "listed_prices_usd_per_h",
        "mig",
        "sources",
    }
)
ENGINE_KEYS = frozenset({"kv_block_tokens", "async_scheduling", "context_mib", "process_s"})
MIG_KEYS = frozenset({"compute_slices", "memory_slices", "profiles"})
MIG_PROFILE_KEYS = frozenset(
    {"name", "compute_slices", "memory_slices", "memory_mib", "sm_count", "max_count", "placement_starts", "older_driver"}
)
MODEL_KEYS = frozenset(
    {
        "name",
        "aliases",
        "layers",
        "hidden",
        "heads",
        "kv_heads",
        "head_dim",
        "intermediate",
        "vocab",
        "tie_embeddings",
        "max_position",
        "dtype",
        "checkpoint_quant",
        "quant_scope",
        "experts",
        "mla",
        "sliding_layers",
        "sliding_window_tokens",
        "gated_mlp",
        "vision_parameters",
        "source",
        "recurrent",
        "mlp_only_layers",
        "chunked",
        "gated_attention",
        "image_tokens",
        "image_values",
        "unquantized_modules",
        "indexer",
        "global_layers",
        "per_layer_input",
        "shared_kv",
        "encoder",
        "pooling",
        "hf_overrides",
    }
)
RECURRENT_KEYS = frozenset({"kind", "layers", "key_heads", "value_heads", "key_dim", "value_dim", "conv_kernel", "state_dtype"})
EXPERTS_KEYS = frozenset({"count", "per_token", "intermediate", "layers", "shared_intermediate"})
GLOBAL_LAYERS_KEYS = frozenset({"kv_heads", "head_dim"})
PER_LAYER_INPUT_KEYS = frozenset({"hidden", "vocab"})
ENCODER_KEYS = frozenset({"learned_positions", "segments"})
SHARED_KV_KEYS = frozenset({"layers", "sliding_layers", "double_mlp"})
INDEXER_KEYS = frozenset({"heads", "head_dim"})
MLA_KEYS = frozenset({"kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"})


def decode_gpu(fields: Fields) -> GpuType:
    """A GpuType; its price is the median of the listed ones. The key engine may be left out."""
    fields.only(GPU_KEYS | {"engine"})
    for key in sorted(GPU_KEYS - set(fields.values)):
        raise fields.error(key, "missing (write null where the fact is not known)")
    prices = fields.table("listed_prices_usd_per_h")
    sources = fields.table("sources")
    mig = fields.table("mig").only(MIG_KEYS) if fields.has("mig") else None
    return GpuType(
        name=fields.text("name"),
        aliases=fields.texts("aliases"),
        memory_usable_mib=fields.integer("memory_usable_mib"),
        memory_bandwidth_gb_per_s=fields.number("memory_bandwidth_gb_per_s"),
        bf16_tflops=fields.number("bf16_tflops"),
        fp8_tflops=fields.optional_number("fp8_tflops"),
        link=fields.text("link", LINKS),
        link_gb_per_s=fields.optional_number("link_gb_per_s"),
        pcie_gb_per_s=fields.number("pcie_gb_per_s"),
        sm_count=fields.optional_integer("sm_count"),
        compute_capability=fields.text("compute_capability"),
        price_usd_per_h=median(prices.number(seller) for seller in prices.values) if prices.values else None,
        mig_compute_slices=mig.integer("compute_slices") if mig else 0,
        mig_memory_slices=mig.integer("memory_slices") if mig else 0,
        mig_profiles=_mig_profiles(mig) if mig else (),
        sources={key: sources.text(key) for key in sources.values},
        engine=_engine(fields.table("engine").only(ENGINE_KEYS)) if fields.has("engine") else None,
    )


def _engine(fields: Fields) -> EngineTraits:
    return EngineTraits(
        kv_block_tokens=fields.integer("kv_block_tokens"),
        async_scheduling=fields.flag("async_scheduling", default=True),
        context_mib=fields.integer("context_mib"),
        process_s=fields.number("process_s"),
    )


def _mig_profiles(mig: Fields) -> tuple[MigProfile, ...]:
    tables = (mig.nested(value, f"profiles[{position}]") for position, value in enumerate(mig.items("profiles")))
    return tuple(_mig_profile(table.only(MIG_PROFILE_KEYS)) for table in tables)


def _mig_profile(fields: Fields) -> MigProfile:
    starts = fields.items("placement_starts")
    if not starts or not all(isinstance(start, int) for start in starts):
        raise fields.error("placement_starts", "must be a list of whole numbers")
    return MigProfile(
        name=fields.text("name"),
        compute_slices=fields.integer("compute_slices"),
        memory_slices=fields.integer("memory_slices"),
        memory_mib=fields.integer("memory_mib"),
        sm_count=fields.optional_integer("sm_count"),
        max_count=fields.integer("max_count"),
        placement_starts=tuple(start for start in starts if isinstance(start, int)),
        older_driver=fields.flag("older_driver", default=False),
    )


def decode_model(fields: Fields) -> Architecture:
    """An Architecture; keys of parts a model does not have (experts, mla, windows, quantisation, vision) may be left out."""
    fields.only(MODEL_KEYS)
    quant = fields.optional_text("checkpoint_quant", CHECKPOINT_QUANTS)
    window_tokens = fields.optional_integer("sliding_window_tokens")
    if (fields.has("sliding_layers")) != (window_tokens is not None):
        raise fields.error("sliding_layers", "sliding_layers and sliding_window_tokens go together")
    if not isinstance(fields.values.get("tie_embeddings"), bool):
        raise fields.error("tie_embeddings", "must be true or false")
    return Architecture(
        name=fields.text("name"),
        aliases=fields.texts("aliases"),
        layers=fields.integer("layers"),
        hidden=fields.integer("hidden"),
        heads=fields.integer("heads"),
        kv_heads=fields.integer("kv_heads"),
        head_dim=fields.integer("head_dim"),
        intermediate=fields.integer("intermediate"),
        vocab=fields.integer("vocab"),
        tie_embeddings=fields.flag("tie_embeddings", default=False),
        max_position=fields.integer("max_position"),
        dtype=fields.text("dtype", tuple(DTYPE_BYTES)),
        checkpoint_quant=quant,
        quant_scope=fields.text("quant_scope", QUANT_SCOPES) if quant else None,
        experts=_experts(fields.table("experts").only(EXPERTS_KEYS)) if fields.has("experts") else None,
        mla=_mla(fields.table("mla").only(MLA_KEYS)) if fields.has("mla") else None,
        sliding_layers=fields.optional_integer("sliding_layers") or 0,
        sliding_window_tokens=window_tokens,
        gated_mlp=fields.flag("gated_mlp", default=True),
        vision_parameters=fields.optional_integer("vision_parameters") or 0,
        source=fields.text("source"),
        recurrent=_recurrent(fields.table("recurrent").only(RECURRENT_KEYS)) if fields.has("recurrent") else None,
        mlp_only_layers=fields.optional_integer("mlp_only_layers") or 0,
        chunked=fields.flag("chunked", default=False),
        gated_attention=fields.flag("gated_attention", default=False),
        image_tokens=fields.optional_integer("image_tokens") or 0,
        image_values=fields.optional_integer("image_values") or 0,
        unquantized_modules=module_patterns(fields, "unquantized_modules"),
        indexer=_part(fields, "indexer", INDEXER_KEYS, _indexer),
        global_layers=_part(fields, "global_layers", GLOBAL_LAYERS_KEYS, _global_layers),
        per_layer_input=_part(fields, "per_layer_input", PER_LAYER_INPUT_KEYS, _per_layer_input),
        shared_kv=_part(fields, "shared_kv", SHARED_KV_KEYS, _shared_kv),
        encoder=_part(fields, "encoder", ENCODER_KEYS, _encoder),
        pooling=fields.flag("pooling", default=False),
        hf_overrides=fields.optional_text("hf_overrides") or "",
    )


DecodedPart = TypeVar("DecodedPart")


def _part(fields: Fields, key: str, keys: frozenset[str], decode: Callable[[Fields], DecodedPart]) -> DecodedPart | None:
    """A part that a model may have, None when the file does not name it."""
    return decode(fields.table(key).only(keys)) if fields.has(key) else None


def _recurrent(fields: Fields) -> Recurrent:
    return Recurrent(
        kind=fields.text("kind", RECURRENT_KINDS),
        layers=fields.integer("layers"),
        key_heads=fields.integer("key_heads"),
        value_heads=fields.integer("value_heads"),
        key_dim=fields.integer("key_dim"),
        value_dim=fields.integer("value_dim"),
        conv_kernel=fields.integer("conv_kernel"),
        state_dtype=fields.text("state_dtype", tuple(DTYPE_BYTES)),
    )


def _experts(fields: Fields) -> Experts:
    return Experts(
        count=fields.integer("count"),
        per_token=fields.integer("per_token"),
        intermediate=fields.integer("intermediate"),
        layers=fields.integer("layers"),
        shared_intermediate=fields.integer("shared_intermediate", minimum=0),
    )


def _global_layers(fields: Fields) -> GlobalLayers:
    return GlobalLayers(kv_heads=fields.integer("kv_heads"), head_dim=fields.integer("head_dim"))


def _per_layer_input(fields: Fields) -> PerLayerInput:
    return PerLayerInput(hidden=fields.integer("hidden"), vocab=fields.integer("vocab"))


def _shared_kv(fields: Fields) -> SharedKv:
    return SharedKv(
        layers=fields.integer("layers"),
        sliding_layers=fields.integer("sliding_layers", minimum=0),
        double_mlp=fields.flag("double_mlp", default=False),
    )


def _encoder(fields: Fields) -> Encoder:
    return Encoder(learned_positions=fields.integer("learned_positions", minimum=0), segments=fields.integer("segments", minimum=0))


def _indexer(fields: Fields) -> Indexer:
    return Indexer(heads=fields.integer("heads"), head_dim=fields.integer("head_dim"))


def _mla(fields: Fields) -> Mla:
    return Mla(
        kv_lora_rank=fields.integer("kv_lora_rank"),
        q_lora_rank=fields.optional_integer("q_lora_rank"),
        qk_nope_head_dim=fields.integer("qk_nope_head_dim"),
        qk_rope_head_dim=fields.integer("qk_rope_head_dim"),
        v_head_dim=fields.integer("v_head_dim"),
    )
