"""The constants of one range of engine versions, and their reading from a mapping."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.fields import Fields
from profiles.settings import EngineSettings

KINDS = ("estimated", "fitted", "measured")


@dataclass(frozen=True, slots=True)
class ByLayout:
    """MiB per GPU of an engine on one GPU, with tensor parallelism, and in a pipeline without it."""

    single_mib: float
    tensor_parallel_mib: float
    pipeline_mib: float

    def of_mib(self, settings: EngineSettings) -> float:
        """MiB for these settings."""
        if settings.tensor_parallel_size > 1:
            return self.tensor_parallel_mib
        return self.pipeline_mib if settings.pipeline_parallel_size > 1 else self.single_mib


@dataclass(frozen=True, slots=True)
class EngineConstants:
    """Constants of the memory model for engine versions from from_version until before_version (None: no end known).

    The terms they belong to are in profiles.memory.activation and profiles.memory.ledger. kind and source say where the numbers come from.
    """

    engine: str
    from_version: str
    before_version: str | None
    kind: str
    source: str
    sampler_bytes_per_logit: float
    sampler_rows_per_sm: int
    sampled_hidden_copies: float
    forward_mlp_widths: float
    forward_hidden_widths: float
    fixed_activation_mib: float
    expert_workspaces: int
    pipeline_hidden_copies: float
    non_torch: ByLayout
    non_torch_spread: ByLayout
    context: ByLayout
    graphs_fixed_mib: float
    graphs_per_layer_mib: float
    graphs_experts_mib: float
    graphs_estimate_first_mib: float
    graphs_estimate_each_mib: float
    graphs_inside_budget: bool

    @property
    def provenance(self) -> str:
        """One line that says where they come from and for which versions."""
        until = f" to before {self.before_version}" if self.before_version else " on"
        return f"{self.kind}, {self.engine} {self.from_version}{until}: {self.source}"


_COUNTS = ("sampler_rows_per_sm", "expert_workspaces")
_NUMBERS = (
    "sampler_bytes_per_logit",
    "sampled_hidden_copies",
    "forward_mlp_widths",
    "forward_hidden_widths",
    "fixed_activation_mib",
    "pipeline_hidden_copies",
    "graphs_fixed_mib",
    "graphs_per_layer_mib",
    "graphs_experts_mib",
    "graphs_estimate_first_mib",
    "graphs_estimate_each_mib",
)
_LAYOUTS = ("non_torch_mib", "non_torch_spread_mib", "context_mib")
KEYS = frozenset({"engine", "from", "before", "kind", "source", "graphs_inside_budget", *_COUNTS, *_NUMBERS, *_LAYOUTS})


def decode_constants(fields: Fields) -> EngineConstants:
    """EngineConstants of a mapping; FieldError names the key that is missing, unknown or wrong."""
    fields.only(KEYS)
    numbers = {key: fields.number(key) for key in _NUMBERS}
    counts = {key: fields.integer(key, minimum=0) for key in _COUNTS}
    non_torch, spread, context = (_layout(fields.table(key)) for key in _LAYOUTS)
    if not isinstance(fields.values.get("graphs_inside_budget"), bool):
        raise fields.error("graphs_inside_budget", "must be true or false")
    return EngineConstants(
        engine=fields.text("engine"),
        from_version=fields.text("from"),
        before_version=fields.optional_text("before"),
        kind=fields.text("kind", KINDS),
        source=fields.text("source"),
        sampler_bytes_per_logit=numbers["sampler_bytes_per_logit"],
        sampler_rows_per_sm=counts["sampler_rows_per_sm"],
        sampled_hidden_copies=numbers["sampled_hidden_copies"],
        forward_mlp_widths=numbers["forward_mlp_widths"],
        forward_hidden_widths=numbers["forward_hidden_widths"],
        fixed_activation_mib=numbers["fixed_activation_mib"],
        expert_workspaces=counts["expert_workspaces"],
        pipeline_hidden_copies=numbers["pipeline_hidden_copies"],
        non_torch=non_torch,
        non_torch_spread=spread,
        context=context,
        graphs_fixed_mib=numbers["graphs_fixed_mib"],
        graphs_per_layer_mib=numbers["graphs_per_layer_mib"],
        graphs_experts_mib=numbers["graphs_experts_mib"],
        graphs_estimate_first_mib=numbers["graphs_estimate_first_mib"],
        graphs_estimate_each_mib=numbers["graphs_estimate_each_mib"],
        graphs_inside_budget=fields.flag("graphs_inside_budget", default=False),
    )


def _layout(fields: Fields) -> ByLayout:
    fields.only(frozenset({"single", "tensor_parallel", "pipeline"}))
    return ByLayout(fields.number("single"), fields.number("tensor_parallel"), fields.number("pipeline"))


def encode_constants(constants: EngineConstants) -> dict[str, object]:
    """The mapping that decode_constants reads, keys in the order of the shipped files."""
    held: dict[str, object] = {
        "engine": constants.engine,
        "from": constants.from_version,
        "before": constants.before_version,
        "kind": constants.kind,
        "source": constants.source,
    }
    held |= {key: getattr(constants, key) for key in (*_COUNTS, *_NUMBERS)}
    for key, layout in zip(_LAYOUTS, (constants.non_torch, constants.non_torch_spread, constants.context), strict=True):
        held[key] = {"single": layout.single_mib, "tensor_parallel": layout.tensor_parallel_mib, "pipeline": layout.pipeline_mib}
    return {**held, "graphs_inside_budget": constants.graphs_inside_budget}
