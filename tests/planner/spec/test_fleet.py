"""What a valid file becomes."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pytest

from planner.spec import Fleet, SpecError, load_fleet
from planner.spec.pools import block_sizes
from planner.spec.workloads import CLASS_DEFAULTS
from profiles.catalogue import builtin
from profiles.mig import legal_layouts
from tests.planner.spec.fleet_files import FLEET, TRACE, changed, load, problems

DEMAND = "{rate: 2/s, input_tokens: 500, output_tokens: {mean: 100, p99: 400}}"
POOL = "    gpus_per_node: 8\n"


def test_defaults() -> None:
    fleet = load(FLEET)
    (pool,), (model,), (workload,) = fleet.pools, fleet.models, fleet.workloads
    assert pool.gpu is builtin().gpu("H100-SXM-80GB")
    assert pool.price_usd_per_h == pool.gpu.price_usd_per_h
    assert (pool.link, pool.block_sizes, pool.hosts) == ("nvswitch", (1, 2, 4, 8), ("127.0.0.1",))
    assert (pool.host_cores, pool.host_memory_mib) == (96, 8 * 128 * 1024)
    assert (pool.mig, pool.mig_layout, pool.sharing) == ("off", (), ("exclusive", "time_shared"))
    assert (pool.ownership, pool.min_nodes, pool.max_nodes) == ("owned", 1, 1)
    assert (model.engine_model, model.dtype, model.max_model_len) == ("Qwen/Qwen2.5-1.5B", "bfloat16", 8192)
    assert (model.max_num_seqs, model.max_num_batched_tokens, model.tensor_parallel) == (256, 2048, (1, 2, 4))
    assert (workload.latency_class, workload.priority, workload.ttft_p95_s, workload.tpot_p95_s) == ("interactive", 100, 0.5, 0.05)
    assert (workload.min_replicas, workload.pin, workload.not_with, workload.served_name) == (1, (), (), "small")
    assert fleet.policy.model_dump() == {
        "headroom_mib": 1024,
        "risk": {"attainment_fraction": 0.99, "step_quantile": 0.9, "interference_factor": 1.3, "spare_load_factor": 1.1},
        "burst_factor": 2.0,
        "isolate_teams": False,
        "max_active_residents": 4,
        "strict": False,
        "cost_slack_fraction": 0.01,
        "goals": tuple(({"goal": goal, "weight": 1.0},) for goal in ("cost", "churn", "fragmentation")),
        "router": {"host": "127.0.0.1", "port": 8080, "admin_port": 9901},
        "ports": {"start": 8100, "end": 8999},
        "disruption_budget": {"max_concurrent": None, "min_available": {}, "protected": (), "windows_s": ()},
        "rollout": {"canary_fraction": 0.1, "window_s": 0.0},
        "spared_mib": 0,
        "bursts": (),
    }
    assert fleet.warnings == ()


def test_every_field_that_is_written_arrives() -> None:
    fleet = load("""\
schema_version: 1
pools:
  p:
    gpu: a100-sxm-80gb
    nodes: 2
    gpus_per_node: 4
    price: 24 USD/d
    link: pairs
    host_cores: 64
    host_memory: 1.5GiB
    hosts: [10.0.0.1, "::1", node-3.example]
    sharing: [time_shared]
    ownership: rentable
    min_nodes: 1
    max_nodes: 3
models:
  m:
    source: Qwen/Qwen2.5-1.5B
    dtype: float16
    quantization: fp8
    kv_cache_dtype: fp8
    max_model_len: 4096
    max_num_seqs: 64
    max_num_batched_tokens: 1024
    stream_interval: 4
    enforce_eager: yes
    tensor_parallel: [2, 1, 2]
    engine_version: 0.30
    revision: 007
workloads:
  w:
    model: m
    class: background
    priority: 7
    slo: {tpot_p95: 80ms}
    demand:
      windows:
        - {start: 1h, end: 2h, rate: 60/min, input_tokens: 10.5, output_tokens: 20}
        - {start: 3h, end: 4h, rate: 2/s, input_tokens: 30, output_tokens: 40}
    isolate: on
    team: 12
    labels: {b: 2, a: no}
    min_replicas: 2
    pin: [p]
policy:
  headroom: 1.5MiB
  risk: {attainment: 0.95, step_quantile: 0.8, interference: 1.2, spare_load: 1}
  max_active_residents: 2
  router: {host: 0.0.0.0, port: 8880, admin_port: 8881}
  ports: {start: 9000, end: 9100}
""")
    (pool,), (model,), (workload,) = fleet.pools, fleet.models, fleet.workloads
    assert (pool.price_usd_per_h, pool.block_sizes, pool.host_cores, pool.host_memory_mib) == (1.0, (1, 2), 64, 1536)
    assert pool.hosts == ("10.0.0.1", "::1", "node-3.example")
    assert (pool.sharing, pool.nodes, pool.min_nodes, pool.max_nodes) == (("time_shared",), 2, 1, 3)
    assert (model.dtype, model.quantization, model.kv_cache_dtype) == ("float16", "fp8", "fp8")
    assert (model.max_model_len, model.max_num_seqs, model.max_num_batched_tokens, model.stream_interval) == (4096, 64, 1024, 4)
    assert (model.enforce_eager, model.tensor_parallel, model.engine_version, model.revision) == (True, (1, 2), "0.30", "007")
    assert (workload.priority, workload.ttft_p95_s, workload.tpot_p95_s) == (7, 30.0, 0.08)
    assert (workload.isolate, workload.served_name, workload.team, workload.labels) == (True, "w", "12", {"a": "no", "b": "2"})
    assert (workload.min_replicas, workload.pin) == (2, ("p",))
    first, second = workload.demand.windows
    assert (first.start_s, first.end_s, first.rate_rps, first.input.mean_tokens) == (3600.0, 7200.0, 1.0, 10.5)
    assert (second.rate_rps, second.output.p99_tokens, workload.demand.peak_rps) == (2.0, 40.0, 2.0)
    assert fleet.policy.headroom_mib == 2, "what must stay free is rounded up"
    assert (fleet.policy.router.port, fleet.policy.ports.end) == (8880, 9100)


@pytest.mark.parametrize("word", ["off", "no", "false", "'off'", "False"])
def test_mig_off_in_the_words_of_yaml(word: str) -> None:
    assert load(changed(POOL, f"{POOL}    mig: {word}\n")).pools[0].mig == "off"


def test_a_fixed_layout_gets_legal_start_slots() -> None:
    pool = load(changed(POOL, f"{POOL}    mig: fixed\n    mig_layout: [3g.40gb, 1g.10gb, 2g.20gb]\n")).pools[0]
    assert sorted(pool.mig_layout) in [sorted(layout) for layout in legal_layouts(pool.gpu)]
    assert sorted(name for name, _ in pool.mig_layout) == ["1g.10gb", "2g.20gb", "3g.40gb"]
    assert all(earlier < later for (_, earlier), (_, later) in pairwise(pool.mig_layout))
    assert pool.sharing == ("mig",)


def test_block_sizes() -> None:
    assert [block_sizes("nvswitch", gpus) for gpus in (1, 3, 6, 16)] == [(1,), (1, 2), (1, 2, 4), (1, 2, 4, 8, 16)]
    assert block_sizes("pairs", 1) == (1,)
    assert block_sizes("pairs", 8) == (1, 2)
    assert block_sizes("pcie", 8) == (1, 2, 4, 8)


@pytest.mark.parametrize(("gpu", "link"), [("L40S", "pcie"), ("H100 NVL", "pairs"), ("H100", "nvswitch")])
def test_the_link_is_the_gpu_types_where_none_is_declared(gpu: str, link: str) -> None:
    pool = load(changed("H100-SXM-80GB", f"{gpu}\n    price: 1 USD/h")).pools[0]
    assert (pool.link, pool.gpu.link) == (link, link)


def test_pools_divide_the_gpus_of_a_machine() -> None:
    others = (
        "  whole: {gpu: A100, nodes: 1, gpus_per_node: 8, hosts: [10.0.0.7], taken: [{node: 0, gpus: [4, 5, 6, 7]}]}\n"
        "  slices: {gpu: A100, nodes: 1, gpus_per_node: 8, hosts: [10.0.0.7], mig: fixed, mig_layout: [7g.80gb],\n"
        "    taken: [{node: 0, gpus: [0, 1, 2, 3]}]}\n"
    )
    fleet = load(changed("models:", f"{others}models:"))
    halves = [pool for pool in fleet.pools if pool.name != "h100"]
    assert [pool.hosts for pool in halves] == [("10.0.0.7",)] * 2
    # cores and memory are counted per GPU, of which each pool uses its own four
    assert [pool.host_cores // pool.gpus_per_node for pool in halves] == [12, 12]


@pytest.mark.parametrize("latency_class", sorted(CLASS_DEFAULTS))
def test_class_defaults_are_the_documented_ones(latency_class: str) -> None:
    workload = load(changed("class: interactive", f"class: {latency_class}")).workloads[0]
    expected = {"interactive": (0.5, 0.05, 100), "standard": (2.0, 0.1, 50), "background": (30.0, 0.5, 0)}
    assert (workload.ttft_p95_s, workload.tpot_p95_s, workload.priority) == expected[latency_class]


def test_demand_from_a_trace() -> None:
    files = {"data/t.csv": TRACE}
    text = changed(DEMAND, "{trace: data/t.csv, tenant: a, window: 60s, repeat_rate: 2}")
    fleet = load(text, files)
    profile = fleet.workloads[0].demand
    # tenant a: arrivals at 0, 60 and (too long, left out) 120 of a horizon of 120 s; the copy is shifted by 60 s
    assert [(window.start_s, window.end_s) for window in profile.windows] == [(0.0, 60.0), (60.0, 120.0)]
    assert [window.rate_rps * 60 for window in profile.windows] == pytest.approx([2, 2])
    assert profile.windows[0].input.mean_tokens == 200
    assert fleet.warnings == (
        "workloads.chat.demand.trace: 1 of 3 requests are longer than max_model_len 8192 of model small "
        "(the longest has 9010 tokens) and can never be served; they are left out of the demand",
    )
    assert fleet.hashes == {
        "data/t.csv": hashlib.sha256(TRACE).hexdigest(),
        "fleet.yaml": hashlib.sha256(text.encode()).hexdigest(),
    }


def test_each_file_is_read_once() -> None:
    reads: list[Path] = []

    def read(path: Path) -> bytes:
        reads.append(path)
        return TRACE

    text = changed(DEMAND, "{trace: t.csv}") + "  b: {model: small, demand: {trace: t.csv, tenant: b}}\n"
    load_fleet(Path("some/where/fleet.yaml"), text, builtin(), read)
    assert reads == [Path("some/where/t.csv")]


def test_neighbours_are_served_names() -> None:
    text = FLEET.replace("workloads:", "  other: {source: Qwen/Qwen3-0.6B}\nworkloads:")
    demand = "demand: {rate: 1/s, input_tokens: 10, output_tokens: 10}"
    text += f"  own: {{model: other, isolate: true, {demand}}}\n  shared: {{model: other, {demand}}}\n"
    text += f"  shy: {{model: small, isolate: true, not_with: [other, chat], {demand}}}\n"
    assert load(text).workloads[-1].not_with == ("other", "own", "small")


def test_an_unused_model_is_a_warning() -> None:
    assert load(changed("workloads:", "  idle: {source: Qwen/Qwen3-0.6B}\nworkloads:")).warnings == (
        "models.idle: no workload uses this model; it is not served",
    )


def test_a_local_model(tmp_path: Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 512, "intermediate_size": 1024,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64, "num_hidden_layers": 4, "vocab_size": 32000,
        "max_position_embeddings": 2048, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    folder = tmp_path / "mine"
    folder.mkdir()
    raw = json.dumps(config).encode()
    (folder / "config.json").write_bytes(raw)
    for source in ("./mine", "./mine/config.json"):
        text = changed("Qwen/Qwen2.5-1.5B", source)
        fleet = load_fleet(tmp_path / "fleet.yaml", text, builtin())
        model = fleet.models[0]
        assert (model.engine_model, model.max_model_len, model.tensor_parallel) == ("./mine", 2048, (1, 2))
        assert fleet.hashes[source] == hashlib.sha256(raw).hexdigest()
    for broken in (b"{", b"[]", b"\xff", b"{}"):
        (folder / "config.json").write_bytes(broken)
        with pytest.raises(SpecError, match=r"models\.small\.source: .*config\.json"):
            load_fleet(tmp_path / "fleet.yaml", changed("Qwen/Qwen2.5-1.5B", "./mine"), builtin())
    with pytest.raises(SpecError, match="No such file"):
        load_fleet(tmp_path / "fleet.yaml", changed("Qwen/Qwen2.5-1.5B", "./none"), builtin())


def test_equal_files_give_equal_fleets() -> None:
    assert isinstance(load(FLEET), Fleet)
    assert load(FLEET) == load(FLEET)


@pytest.mark.parametrize(
    ("name", "sure", "others"),
    [
        ("H100", "H100-SXM-80GB (79.2 GiB, 3350 GB/s)", "the others are called H100-NVL-94GB, H100-PCIE-80GB"),
        ("a100", "A100-SXM-80GB (79.1 GiB, 2039 GB/s)", "the others are called A100-PCIE-80GB, A100-SXM-40GB"),
        ("A100-80GB", "A100-SXM-80GB (79.1 GiB, 2039 GB/s)", "the others are called A100-PCIE-80GB"),
        ("A800", "A800-SXM-80GB", "the others are called A800-PCIE-80GB; the catalogue does not have A800 40 GB Active"),
        ("H800", "H800-SXM-80GB", "the catalogue does not have H800 PCIe 80 GB"),
        ("H20", "H20-96GB", "the catalogue does not have H20 141 GB"),
        ("RTX-PRO-6000", "RTX-PRO-6000-Server", "the others are called RTX-PRO-6000-Max-Q, RTX-PRO-6000-Workstation"),
    ],
)
def test_a_name_of_several_cards_is_warned_of(name: str, sure: str, others: str) -> None:
    [warning] = load(changed("gpu: H100-SXM-80GB", f"gpu: {name}\n    price: 2 USD/h")).warnings
    assert warning.startswith(f"pools.h100.gpu: {name} is the name of several cards; taken for {sure}")
    assert warning.endswith(f"write that to be sure; {others}")


@pytest.mark.parametrize(
    "name", ["H100-SXM-80GB", "h100-sxm-80gb", "H100-NVL", "NVIDIA H100 80GB HBM3", "L40", "A10", "GB200", "B200", "RTX-6000-Ada"]
)
def test_a_name_of_one_card_is_not_warned_of(name: str) -> None:
    assert load(changed("gpu: H100-SXM-80GB", f"gpu: {name}\n    price: 2 USD/h")).warnings == ()


def test_a_version_that_cannot_be_given_kv_bytes_is_refused() -> None:
    text = changed("source: Qwen/Qwen2.5-1.5B", "source: Qwen/Qwen2.5-1.5B\n    engine_version: 0.6.4")
    [problem] = problems(text)
    assert "models.small.engine_version: vLLM 0.6.4 cannot be given the size of its KV cache in bytes" in problem
    assert "write 0.10.2 or newer: plans give every engine its bytes" in problem


def test_a_version_whose_flags_are_not_known_is_warned_of() -> None:
    text = changed("source: Qwen/Qwen2.5-1.5B", "source: Qwen/Qwen2.5-1.5B\n    engine_version: 0.34.0")
    assert load(text).warnings == (
        "models.small.engine_version: flags of vLLM 0.34.0 are not known here and taken to be those of 0.33.0: compare with "
        "`vllm serve --help=all`",
    )
    assert load(text.replace("0.34.0", "0.19.1")).warnings == ()


def test_a_version_that_does_not_wait_when_it_stops_is_warned_of() -> None:
    text = changed("source: Qwen/Qwen2.5-1.5B", "source: Qwen/Qwen2.5-1.5B\n    engine_version: 0.17.1")
    [warning] = load(text).warnings
    assert warning.startswith("models.small.engine_version: vLLM 0.17.1 breaks off the requests in it when it is told to stop")


def test_a_version_that_crashes_in_mig_instances_is_refused_where_there_is_nothing_else() -> None:
    old = changed("source: Qwen/Qwen2.5-1.5B", "source: Qwen/Qwen2.5-1.5B\n    engine_version: 0.20.0")
    mig = changed("gpus_per_node: 8", "gpus_per_node: 8\n    mig: repartition", old)
    [problem] = problems(mig)
    assert "models.small.engine_version: vLLM 0.20.0 crashes when its device is named by UUID" in problem
    assert problem.endswith("write 0.21.0 or newer: workload chat may use MIG instances only (pools: h100)")
    whole = changed("models:", "  whole: {gpu: H100-SXM-80GB, nodes: 1, gpus_per_node: 1}\nmodels:", mig)
    assert problems(whole) == ()
    assert problems(mig.replace("0.20.0", "0.21.0")) == ()


def test_a_disruption_budget_is_read_into_seconds_of_the_week() -> None:
    budget = "{max_concurrent: 1, min_available: {chat: 2}, protected: [chat], windows: [{hours: 22:00-02:00, days: sun}]}"
    found = load(FLEET.replace("pools:", f"policy: {{disruption_budget: {budget}}}\npools:", 1)).policy.disruption_budget
    assert (found.max_concurrent, found.min_available, found.protected) == (1, {"chat": 2}, ("chat",))
    # from Sunday evening to midnight, and on Monday morning
    assert found.windows_s == ((0.0, 7_200.0), (597_600.0, 604_800.0))
    daily = load(FLEET.replace("pools:", "policy: {disruption_budget: {windows: [{hours: 02:00-03:00}]}}\npools:", 1))
    assert daily.policy.disruption_budget.windows_s == tuple((day * 86_400.0 + 7_200.0, day * 86_400.0 + 10_800.0) for day in range(7))


def test_a_trace_shorter_than_a_window_is_told() -> None:
    demand = "{rate: 2/s, input_tokens: 500, output_tokens: {mean: 100, p99: 400}}"
    for window, told in (("1h", True), ("1min", False)):
        found = load(changed(demand, f"{{trace: t.csv, window: {window}}}"), {"t.csv": TRACE}).warnings
        assert any("t.csv ends after 120 s, which is less than one window of 3600 s" in warning for warning in found) == told
