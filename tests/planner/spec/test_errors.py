# ruff: noqa: E501 - one wrong field per line reads best
"""Every wrong field is named with its place, its value and what is allowed; all of them at once."""

from __future__ import annotations

import gzip

import pytest

from planner.spec import SpecError, SpecProblem
from tests.planner.spec.fleet_files import FLEET, TRACE, changed, problems

MODEL, POOL, WORKLOAD = "    source: Qwen/Qwen2.5-1.5B\n", "    gpus_per_node: 8\n", "    class: interactive\n"
DEMAND = "{rate: 2/s, input_tokens: 500, output_tokens: {mean: 100, p99: 400}}"


def test_the_valid_fleet_has_no_problems() -> None:
    assert problems(FLEET) == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # unknown and missing
        ("schema_version: 1", "schema_version: 2", "1:17: schema_version: '2' is not a version this ullage reads; write 1"),
        ("schema_version: 1\n", "", "1:1: schema_version: is required. Version of this format: 1."),
        ("workloads:", "worklods:", "10:1: worklods: unknown field; did you mean 'workloads'? allowed: schema_version, pools, models,"),
        ("nodes: 1", "node: 1", "5:5: pools.h100.node: unknown field; did you mean 'nodes'? allowed: gpu, nodes, gpus_per_node, price"),
        ("    nodes: 1\n", "", "3:3: pools.h100.nodes: is required. Number of nodes. Example: 1"),
        ("nodes: 1", "nodes:", "5:5: pools.h100.nodes: has no value; write one or leave the field out"),
        ("H100-SXM-80GB", "H100-SXM-81GB", "4:10: pools.h100.gpu: unknown GPU type 'H100-SXM-81GB'; nearest: H100-SXM-80GB"),
        ("Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-1.6B", "9:13: models.small.source: unknown model 'Qwen/Qwen2.5-1.6B'; nearest: Qwen/Qwen2.5-1.5B"),
        ("model: small", "model: smal", "12:12: workloads.chat.model: no model is called 'smal'; did you mean 'small'? declared: small"),
        (WORKLOAD, "    pin: [h200]\n", "13:11: workloads.chat.pin[0]: no pool is called 'h200'; did you mean 'h100'? declared: h100"),
        (WORKLOAD, "    not_with: [chta]\n", "13:16: workloads.chat.not_with[0]: no workload or model is called 'chta'; did you mean 'chat'?"),
        ("class: interactive", "class: Interactve", "13:12: workloads.chat.class: 'Interactve' is not allowed; did you mean interactive? allowed:"),
        # numbers
        ("nodes: 1", "nodes: 0", "5:12: pools.h100.nodes: '0' must be at least 1"),
        ("nodes: 1", "nodes: -3", "pools.h100.nodes: '-3' must be at least 1"),
        ("nodes: 1", "nodes: 1.5", "pools.h100.nodes: '1.5' is not a whole number"),
        ("nodes: 1", "nodes: 1_0", "pools.h100.nodes: '1_0' is not a whole number"),
        ("nodes: 1", "nodes: .nan", "pools.h100.nodes: '.nan' is not a whole number"),
        ("nodes: 1", "nodes: " + "9" * 4000, "pools.h100.nodes: '999"),
        ("nodes: 1", "nodes: [1]", "pools.h100.nodes: a list is not a whole number"),
        ("nodes: 1", "nodes: {a: 1}", "pools.h100.nodes: a mapping is not a whole number"),
        ("rate: 2/s", "rate: 2", "14:20: workloads.chat.demand.rate: '2' has no unit; write 2/s if that is meant"),
        ("rate: 2/s", "rate: 0/s", "workloads.chat.demand.rate: '0/s' must be more than 0"),
        ("rate: 2/s", "rate: -2/s", "workloads.chat.demand.rate: '-2/s' must not be negative"),
        ("rate: 2/s", "rate: nan/s", "workloads.chat.demand.rate: 'nan/s' is not a rate; write for example 3.2/s"),
        ("rate: 2/s", "rate: inf", "workloads.chat.demand.rate: 'inf' is not a rate"),
        ("rate: 2/s", "rate: 99999999/s", "workloads.chat.demand.rate: '99999999/s' is too large; at most 1000000/s"),
        ("input_tokens: 500", "input_tokens: 0", "workloads.chat.demand.input_tokens: '0' must be at least 1"),
        ("input_tokens: 500", "input_tokens: nan", "workloads.chat.demand.input_tokens: 'nan' is not a number; write digits"),
        ("mean: 100", "mean: 99999999", "workloads.chat.demand.output_tokens.mean: '99999999' must be at most 10000000"),
        ("mean: 100", "mean: inf", "workloads.chat.demand.output_tokens.mean: 'inf' is not a number"),
        ("p99: 400", "p99: 40", "workloads.chat.demand.output_tokens.p99: 40 is less than the mean 100"),
        (WORKLOAD, "    slo: {ttft_p95: 500}\n", "13:21: workloads.chat.slo.ttft_p95: '500' has no unit; write 500ms"),
        (WORKLOAD, "    slo: {tpot: 50ms}\n", "13:11: workloads.chat.slo.tpot: unknown field; did you mean 'tpot_p95'?"),
        (WORKLOAD, "    spread: node\n", "13:13: workloads.chat.spread: "),
        (WORKLOAD, "    spread: [nodes]\n", "workloads.chat.spread: "),
        (WORKLOAD, "    isolate: maybe\n", "workloads.chat.isolate: 'maybe' is not true or false"),
        (WORKLOAD, "    labels: [a]\n", "workloads.chat.labels: a list is not a mapping of fields"),
        (WORKLOAD, "    priority: -1\n", "workloads.chat.priority: '-1' must be at least 0"),
        (POOL, POOL + "    price: 2.95\n", "7:12: pools.h100.price: '2.95' has no unit; write 2.95 USD/h"),
        (POOL, POOL + "    price: 2.95 EUR/h\n", "pools.h100.price: '2.95 EUR/h' is in 'EUR'; prices are in US dollars (USD): convert it, as in 2.95 USD/h"),
        (POOL, POOL + "    host_memory: 64\n", "pools.h100.host_memory: '64' has no unit; write 64GiB"),
        ("gpus_per_node: 8", "gpus_per_node: 8\n    numa_nodes: 3", "pools.h100.numa_nodes: 8 GPUs cannot be divided evenly among 3 NUMA nodes"),
        ("gpus_per_node: 8", "gpus_per_node: 65", "pools.h100.gpus_per_node: '65' must be at most 64"),
        # names
        ("  h100:", "  h 100:", "3:3: pools.h 100: 'h 100' is not a name; allowed are up to 63 letters"),
        ("  chat:", "  a/b:", "11:3: workloads.a/b: 'a/b' is not a name"),
        # demand forms
        (DEMAND, "{rat: 2/s, input_tokens: 5}", "14:5: workloads.chat.demand: needs exactly one of rate, windows, trace, forecast or requests; found rat, input_tokens; "),
        (DEMAND, "{rate: 2/s, trace: t.csv}", "workloads.chat.demand: needs exactly one of rate, windows, trace, forecast or requests; found rate, trace"),
        (DEMAND, "2/s", "workloads.chat.demand: needs exactly one of rate, windows, trace, forecast or requests; found '2/s'"),
        (DEMAND, "{rate: 2/s, input_tokens: 5}", "workloads.chat.demand.output_tokens: missing or 0; model"),
        (DEMAND, "{windows: []}", "workloads.chat.demand.windows: a list is too short; at least 1"),
        (DEMAND, "{windows: [{start: 5s, end: 5s, rate: 1/s, input_tokens: 1, output_tokens: 1}]}", "windows[0].end: 5 s is not after the start"),
        (
            DEMAND,
            "{windows: [{start: 0s, end: 5s, rate: 1/s, input_tokens: 1, output_tokens: 1}, "
            "{start: 4s, end: 6s, rate: 1/s, input_tokens: 1, output_tokens: 1}]}",
            "workloads.chat.demand.windows[1].start: 4 s is before the end of the window above at 5 s",
        ),
        ("input_tokens: 500", "input_tokens: 8100", "demand.input_tokens: requests of 8100 tokens (p99) and 100 output"),
        ("input_tokens: 500", "input_tokens: {mean: 500, p99: 8150}", "demand.input_tokens: requests of 8150 tokens (p99) and 100 output tokens"),
        # not supported yet
        (MODEL, MODEL + "    adapters: []\n", "10:5: models.small.adapters: a list is not a mapping of fields"),
        (WORKLOAD, "    deadline: 1h\n", "13:15: workloads.chat.deadline: '1h' is no time of a day; write for example 06:00 (UTC)"),
        ("pools:", "policy: {goals: 1}\npools:", "policy.goals: '1' is not a list"),
        ("pools:", "policy: {disruption_budget: 1}\npools:", "2:29: policy.disruption_budget: '1' is not a mapping of fields"),
        ("pools:", "policy: {disruption_budget: {max_concurrent: 0}}\npools:", "policy.disruption_budget.max_concurrent: '0' must be at least 1"),
        (
            "pools:",
            "policy: {disruption_budget: {protected: [caht]}}\npools:",
            "2:42: policy.disruption_budget.protected[0]: 'caht' is not among the workloads; did you mean chat?",
        ),
        (
            "pools:",
            "policy: {disruption_budget: {min_available: {summaries: 2}}}\npools:",
            "policy.disruption_budget.min_available.summaries: 'summaries' is not among the workloads",
        ),
        ("pools:", "policy: {disruption_budget: {windows: [{hours: 2-6}]}}\npools:", "windows[0].hours: '2-6' are no hours of a day"),
        ("pools:", "policy: {cost_slack_fraction: 2}\npools:", "policy.cost_slack_fraction: '2' must be at most 1"),
        ("pools:", "policy: {goals: [speed]}\npools:", "policy.goals[0]"),
        ("pools:", "policy: {goals: [cost, cost + churn]}\npools:", "policy.goals: cost stands 2 times"),
        (POOL, POOL + "    mig: toggle\n", "7:10: pools.h100.mig: 'toggle' is not supported yet; write off, repartition or fixed"),
        ("gpu: H100-SXM-80GB", "gpu: cpu-x86-8gib\n    sharing: [exclusive, mps]", "pools.h100.sharing: lists mps, which takes an NVIDIA GPU of compute capability 7"),
        # pools across fields
        (POOL, POOL + "    mig: on\n", "pools.h100.mig: 'on' does not say how; write repartition"),
        (POOL, POOL + "    sharing: [mig]\n", "7:5: pools.h100.sharing: lists mig while mig is off"),
        (POOL, POOL + "    sharing: []\n", "pools.h100.sharing: a list is too short; at least 1"),
        (POOL, POOL + "    mig: repartition\n    sharing: [exclusive, mig]\n", "pools.h100.sharing: a pool in MIG mode runs MIG slices only"),
        (POOL, POOL + "    mig: fixed\n", "3:3: pools.h100.mig_layout: is required with mig: fixed"),
        (POOL, POOL + "    mig_layout: [7g.80gb]\n", "pools.h100.mig_layout: is for mig: fixed, mig is off"),
        (POOL, POOL + "    mig: fixed\n    mig_layout: [3g.20gb]\n", "8:18: pools.h100.mig_layout[0]: H100-SXM-80GB has no MIG profile '3g.20gb'; did you"),
        (POOL, POOL + "    mig: fixed\n    mig_layout: [4g.40gb, 4g.40gb]\n", "mig_layout: 4g.40gb, 4g.40gb do not fit on one H100-SXM-80GB"),
        (POOL, POOL + "    hosts: [a, b]\n", "pools.h100.hosts: 2 addresses for 1 nodes; write one per node"),
        (POOL, POOL + "    hosts: ['a:80']\n", "pools.h100.hosts[0]: 'a:80' is not the name or address of a host (without a port)"),
        (POOL, POOL + "    min_nodes: 1\n", "pools.h100.min_nodes: is for rentable pools; write ownership: rentable"),
        (POOL, POOL + "    ownership: rentable\n    min_nodes: 2\n", "pools.h100.min_nodes: 2 is more than the 1 nodes there can be"),
        ("nodes: 1", "nodes: 3\n    ownership: rentable\n    max_nodes: 2", "pools.h100.max_nodes: 2 is less than nodes: 3"),
        ("H100-SXM-80GB", "L4\n    mig: repartition", "pools.h100.mig: L4 has no MIG; write off or choose another GPU"),
        # models across fields
        (MODEL, MODEL + "    tensor_parallel: [5]\n", "models.small.tensor_parallel[0]: 5 does not divide the 12 heads and 2 KV heads of Qwen"),
        (MODEL, MODEL + "    tensor_parallel: [12]\n", "models.small.tensor_parallel[0]: 12 is not a power of two"),
        (MODEL, MODEL + "    max_model_len: 999999\n", "models.small.max_model_len: 999999 tokens; Qwen/Qwen2.5-1.5B-Instruct can do 32768"),
        (POOL, POOL + "    link: pcie\n", None),
        # policy
        ("pools:", "policy: {headroom: 80GiB}\npools:", "2:20: policy.headroom: 81920 MiB leave nothing of the"),
        ("pools:", "policy: {ports: {start: 9000, end: 8999}}\npools:", "policy.ports.end: 8999 is before the start 9000"),
        ("pools:", "policy: {router: {port: 8100}}\npools:", "policy.router.port: 8100 lies among the ports for engines, 8100 to 8999"),
        ("pools:", "policy: {router: {port: 9901}}\npools:", "policy.router.admin_port: 9901 is the router's port for requests already"),
        ("pools:", "policy: {risk: {attainment: 1}}\npools:", "policy.risk.attainment: '1' must be less than 1"),
        ("pools:", "policy: {sizing_quantile: 0.9}\npools:", "policy.sizing_quantile: is now policy.risk.attainment; write it there"),
        ("pools:", "policy: []\npools:", "policy: a list is not a mapping of fields"),
        ("pools:", "policy:\npools:", "policy: has no value"),
    ],
)  # fmt: skip
def test_one_wrong_field(old: str, new: str, expected: str | None) -> None:
    found = problems(changed(old, new))
    if expected is None:
        assert found == ()
    else:
        assert any(expected in message for message in found), "\n".join(found)
        assert all(message.startswith("fleet.yaml:") for message in found)


def test_sections_must_be_filled_mappings() -> None:
    assert len(problems("schema_version: 1\npools: {}\nmodels: []\nworkloads: x\n")) == 3
    assert len(problems("schema_version: 1\npools: {a: }\nmodels: {b: []}\nworkloads: {c: x}\n")) == 3


def test_a_price_is_required_where_the_catalogue_has_none() -> None:
    (message,) = problems(changed("H100-SXM-80GB", "A30"))
    assert "pools.h100.price: is required: the catalogue lists no price for A30. Write for example price: 2.95 USD/h" in message
    assert problems(changed("H100-SXM-80GB", "A30\n    price: 0.50 USD/h")) == ()


def test_blocks_must_fit_some_pool() -> None:
    text = changed(MODEL, MODEL + "    tensor_parallel: [2]\n")
    assert problems(text) == ()
    assert problems(changed(POOL, POOL + "    link: pcie\n", text)) == ()
    four = text.replace("[2]", "[4]").replace("Qwen2.5-1.5B", "Qwen2.5-7B")
    (message,) = problems(changed(POOL, POOL + "    link: pairs\n", four))
    assert "models.small.tensor_parallel: no pool has room for blocks of 4 GPUs; the pools allow 1, 2" in message
    assert "h100 has link: pairs" in message
    two = changed("models:", "  l4: {gpu: L4, nodes: 1, gpus_per_node: 1}\nmodels:", text)
    (message,) = problems(changed(WORKLOAD, "    pin: [l4]\n", two))
    assert "workloads.chat.pin: none of these pools allows tensor_parallel 2" in message


def test_machines_belong_to_one_node() -> None:
    text = changed("models:", "  b: {gpu: L4, nodes: 2, gpus_per_node: 1, hosts: [10.0.0.1, 10.0.0.1]}\nmodels:")
    assert "pools.b.hosts[1]: 10.0.0.1 is a node of pool b already" in problems(text)[0]
    assert problems(text.replace("10.0.0.1", "127.0.0.1")) == ()
    shared = changed(POOL, f"{POOL}    hosts: [10.0.0.1]\n")
    shared = shared.replace(
        "models:", "  b: {gpu: L4, nodes: 1, gpus_per_node: 2, hosts: [10.0.0.1], taken: [{node: 0, gpus: [1]}]}\nmodels:"
    )
    (message,) = problems(shared)
    assert "pools.b.hosts[0]: 10.0.0.1 is a node of pool h100 already, and GPUs 0 would belong to both; list under taken" in message


@pytest.mark.parametrize(
    ("gpu", "wrong", "hint"),
    [
        ("GB200", "1g.25gb", "1g.23gb has 1 of 7 compute slices and 22528 MiB; write it where `nvidia-smi mig -lgip` lists as much"),
        ("H100", "1g.10gb+me", "1g.10gb has 1 of 7 compute slices and 9984 MiB, without +me"),
        ("H100", "3g.20gb", "did you mean 3g.40gb?"),
        ("A30", "5g.1gb", "allowed: 1g.6gb"),
    ],
)
def test_a_mig_profile_of_another_driver_is_found_by_its_slices(gpu: str, wrong: str, hint: str) -> None:
    text = changed("H100-SXM-80GB", f"{gpu}\n    price: 1 USD/h")
    (message,) = problems(changed(POOL, f"{POOL}    mig: fixed\n    mig_layout: [{wrong}]\n", text))
    assert f"has no MIG profile {wrong!r}" in message
    assert hint in message


def test_contradictions_between_workloads() -> None:
    second = FLEET + "  batch:\n    model: small\n    demand: {rate: 1/s, input_tokens: 10, output_tokens: 10}\n"
    assert problems(second) == ()
    for name, expected in (
        ("batch", "workloads.batch.not_with[0]: a workload cannot be kept away from itself"),
        ("chat", "a workload cannot be kept away from chat, which is served by the same replicas; write isolate: true"),
        ("small", "a workload cannot be kept away from small, which is served by the same replicas; write isolate: true"),
    ):
        (message,) = problems(second + f"    not_with: [{name}]\n")
        assert expected in message
    assert problems(second + "    not_with: [chat, small]\n    isolate: true\n") == ()
    (message,) = problems(second.replace("  batch:", "  small:") + "    isolate: true\n")
    assert "workloads.small: is isolated and so served under its own name, which a model has already" in message


def test_pins_of_shared_replicas_must_agree() -> None:
    text = changed("models:", "  l4: {gpu: L4, nodes: 1, gpus_per_node: 4}\nmodels:").replace(WORKLOAD, "    pin: [h100]\n")
    text += "  batch: {model: small, pin: [l4], demand: {rate: 1/s, input_tokens: 10, output_tokens: 10}}\n"
    (message,) = problems(text)
    assert "workloads.batch.pin: no pool suits both this and chat, which share the replicas of small" in message
    assert problems(text.replace("pin: [l4]", "pin: [l4], isolate: true")) == ()


@pytest.mark.parametrize(
    ("demand", "files", "expected"),
    [
        ("{trace: t.csv}", {}, "14:21: workloads.chat.demand.trace: 't.csv' cannot be read: No such file or directory"),
        ("{trace: t.csv}", {"t.csv": b"arrival_s\n1\n"}, "demand.trace: t.csv: column input_tokens, output_tokens is missing"),
        ("{trace: t.csv.gz}", {"t.csv.gz": gzip.compress(TRACE, mtime=0)[:30]}, "demand.trace: t.csv.gz: the gzip file ends early"),
        ("{trace: t.parquet}", {"t.parquet": TRACE}, "demand.trace: t.parquet: not a readable parquet file"),
        ("{trace: t.txt}", {"t.txt": TRACE}, "demand.trace: t.txt: unknown format"),
        ("{trace: t.csv, tenant: A1}", {"t.csv": TRACE.replace(b",a", b",a1")}, "demand.tenant: t.csv has no tenant 'A1'; did you mean 'a1'?"),
        ("{trace: t.csv, tenant: zebra}", {"t.csv": TRACE}, "demand.tenant: t.csv has no tenant 'zebra' among its 2 tenants"),
        ("{trace: t.csv, window: 0s}", {"t.csv": TRACE}, "demand.window: '0s' must be more than 0"),
        ("{trace: t.csv, window: 1ms}", {"t.csv": TRACE}, "demand.window: windows of 0.001 s cut 120 s into more than 1440; write at least 1s"),
        ("{trace: t.csv, repeat_rate: 1.5}", {"t.csv": TRACE}, "demand.repeat_rate: '1.5' is not a whole number"),
        ("{trace: t.csv, repeat_rate: 0}", {"t.csv": TRACE}, "demand.repeat_rate: '0' must be at least 1"),
        ("{trace: t.csv, repat_rate: 2}", {"t.csv": TRACE}, "demand.repat_rate: unknown field; did you mean 'repeat_rate'? allowed: trace,"),
        ('{trace: "a\\0b.csv"}', {}, "the text holds a character that cannot be written as UTF-8 or is NUL"),
    ],
)  # fmt: skip
def test_traces_that_cannot_be_used(demand: str, files: dict[str, bytes], expected: str) -> None:
    found = problems(changed(DEMAND, demand), files)
    assert any(expected in message for message in found), "\n".join(found)


def test_a_trace_of_too_long_requests_only_is_refused() -> None:
    text = changed(DEMAND, "{trace: t.csv}").replace(MODEL, MODEL + "    max_model_len: 16\n")
    (message,) = problems(text, {"t.csv": TRACE})
    assert "4 of 4 requests are longer than max_model_len 16 of model small (the longest has 9010 tokens)" in message


def test_all_problems_at_once_sorted_by_place() -> None:
    text = FLEET.replace("nodes: 1", "nodes: 0").replace("source: Qwen", "source: Qwon").replace("interactive", "fast").replace("2/s", "2")
    text = text.replace("gpus_per_node: 8", "gpus_per_node: 8\n    price: free") + "policy: {risk: 1, headroom: 1}\n"
    found = problems(text)
    places = [tuple(map(int, message.split(":")[1:3])) for message in found]
    assert len(found) == 7
    assert places == sorted(places)


def test_a_name_may_be_that_of_a_field() -> None:
    text = FLEET.replace("  chat:", "  slo:").replace("    class: interactive\n", "    clas: interactive\n")
    (message,) = problems(text)
    assert "workloads.slo.clas: unknown field; did you mean 'class'? allowed: model, class, priority" in message


def test_a_broken_trace_is_reported_once() -> None:
    text = changed(DEMAND, "{trace: t.csv}") + "  more: {model: small, demand: {trace: t.csv}}\n"
    assert len(problems(text, {})) == 1


def test_spec_errors_sort_and_deduplicate() -> None:
    late, early = SpecProblem("f", 9, 1, "", "late"), SpecProblem("f", 2, 7, "a.b", "early")
    error = SpecError((late, early, late))
    assert str(error) == "f:2:7: a.b: early\nf:9:1: late"


def test_names_from_the_file_cannot_break_lines_or_reach_the_terminal() -> None:
    (message,) = problems(FLEET + '  "x\\n\\e[31m": {model: small}\n')[:1]
    assert "\n" not in message
    assert "\x1b" not in message
    assert r"workloads.x\n\x1b[31m" in message


def test_a_fleet_beyond_what_can_be_planned_is_said_at_once() -> None:
    (message,) = problems(changed("nodes: 1", "nodes: 100000"))
    assert "pools.h100.nodes: makes a fleet of 800000 GPUs; at most 50000 can be planned at once" in message


def test_engines_do_not_listen_everywhere_and_no_server_on_the_systems_ports() -> None:
    (message,) = problems(changed(POOL, f"{POOL}    hosts: [0.0.0.0]\n"))
    assert "pools.h100.hosts[0]: 0.0.0.0 is no machine's address" in message
    for port in (0, 22, 70_000):
        assert any("policy.router.port" in said for said in problems(changed("pools:", f"policy: {{router: {{port: {port}}}}}\npools:")))


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("port: 99", "models.small.extra_args.port: --port is decided by the plan"),
        ("no-enforce-eager: true", "--no-enforce-eager is decided by the plan"),
        ("api-key: x", "--api-key is a secret"),
        ("speculative-config: x", "models.small.extra_args.speculative-config: is not JSON"),
        ("spec-model: x", "--spec-model changes memory, processes or step times"),
        ("chat-template: ./nowhere.jinja", "./nowhere.jinja: there is no such file or folder beside the fleet file"),
        ("Bad_Flag: x", "models.small.extra_args"),
    ],
)
def test_flags_that_may_not_be_added(flag: str, says: str) -> None:
    assert any(says in message for message in problems(changed(MODEL, f"{MODEL}    extra_args: {{{flag}}}\n")))
    assert problems(changed(MODEL, f"{MODEL}    extra_args: {{tool-call-parser: hermes, enable-auto-tool-choice: true}}\n")) == ()
