"""import: what it writes loads, and says what is not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.hand_started.serve_command import read_arguments
from executor.hand_started.server_answers import EngineTraffic, ObservedLengths
from executor.nvml.host_readings import HostReading
from planner.plan import State
from planner.spec import Fleet, load_fleet
from profiles.catalogue import builtin
from tests.executor.hand_started.conftest import Start
from tests.executor.hand_started.conftest import start as start  # noqa: PLC0414 - a fixture
from tests.executor.nvml.fake_driver import H100, pretend
from tests.ports import free_ports
from tests.ullage.commands import ullage
from tests.ullage.takeover.test_written_servers import COMPOSE, UNIT
from ullage.planning.plan import plan_fleet
from ullage.takeover.fleet_draft import fleet_draft
from ullage.takeover.written_server import WrittenServer

LLAMA = "meta-llama/Meta-Llama-3.1-8B"


def written(line: str, **changes: object) -> WrittenServer:
    command = read_arguments(line.split())
    fields = {"origin": "here", "command": command, "names": command.served_names(), "gpus": (0,), "unknown": (), "version": "0.32.0"}
    return WrittenServer(**{**fields, **changes})  # type: ignore[arg-type]


def drafted(*servers: WrittenServer) -> tuple[str, Fleet]:
    """The text, with its comments on one line each, and the fleet that it loads as."""
    draft = fleet_draft(servers, None, builtin(), Path("fleet.yaml"))
    assert draft.faults == ()
    return " ".join(draft.text.replace("#", " ").split()), load_fleet(Path("fleet.yaml"), draft.text, builtin())


def test_flags_become_fields() -> None:
    line = f"{LLAMA} --served-model-name chat -tp 2 --dtype half --max-model-len 4K --max-num-seqs 64 --max-num-batched-tokens 1024"
    line += " --kv-cache-dtype fp8 --enforce-eager --revision main --tool-call-parser hermes --no-enable-prefix-caching --port 8123"
    text, fleet = drafted(written(line))
    [model] = fleet.models
    assert (model.name, model.source, model.tensor_parallel, model.dtype) == ("chat", LLAMA, (2,), "float16")
    assert (model.max_model_len, model.max_num_seqs, model.max_num_batched_tokens) == (4096, 64, 1024)
    assert (model.kv_cache_dtype, model.enforce_eager, model.revision) == ("fp8", True, "main")
    assert model.extra_args == (("enable-prefix-caching", "false"), ("tool-call-parser", "hermes"))
    assert "unknown: the GPUs. No NVIDIA driver answers here" in text
    assert "unknown: rate: no requests were counted; a placeholder" in text
    assert fleet.policy.ports.start == 8100
    assert plan_fleet(fleet, State()).plan.desired.replicas


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--quantization bitsandbytes", "unknown: quantization: bitsandbytes was left out"),
        ("--max-model-len 1M", "unknown: max_model_len: 1048576 was left out"),
        ("-tp 3", "unknown: tensor_parallel: [3] was left out"),
        ("--block-size 32", "unknown: flag left out: --block-size 32 changes memory"),
        ("--api-key s3cret", "unknown: flag left out: --api-key (secret) is a secret"),
        ("--gpu-memory-utilization 0.5", "the plan decides by itself, given now: --gpu-memory-utilization 0.5"),
        ("--allowed-media-domains a b", "extra_args have one value"),
        ("--lora-modules odd", "unknown: adapters: one of --lora-modules is not written NAME=PATH"),
        ("--chat-template ./absent.jinja", "unknown: chat-template: ./absent.jinja was left out"),
        ("", "unknown: max_num_seqs: vLLM chooses it by the GPU where none is given"),
    ],
)
def test_what_the_fleet_file_does_not_take_is_a_comment(flags: str, said: str) -> None:
    text, _ = drafted(written(f"{LLAMA} --served-model-name chat {flags}"))
    assert said in text
    assert "s3cret" not in text


def test_versions_that_plans_do_not_take_are_comments() -> None:
    text, fleet = drafted(written(LLAMA, version="0.10.1"))
    assert "unknown: engine_version: 0.10.1 was left out" in text
    assert fleet.models[0].engine_version == "0.32.0"


def test_an_embedding_model_and_adapters() -> None:
    _, fleet = drafted(
        written("BAAI/bge-m3 --runner pooling --port 8101"),
        written(f"{LLAMA} --served-model-name chat --enable-lora --lora-modules law=org/law --max-lora-rank 32 --port 8102"),
    )
    assert {model.name: model.pooling for model in fleet.models} == {"bge-m3": True, "chat": False}
    [adapter] = fleet.models[1].adapters or fleet.models[0].adapters
    assert (adapter.name, adapter.engine_source, adapter.rank) == ("law", "org/law", 32)


def test_replicas_are_one_model_and_their_requests_add_up() -> None:
    line = f"{LLAMA} --served-model-name chat --max-model-len 4096"
    one = EngineTraffic(100, 50.0, ObservedLengths(300.0, 1000.0), ObservedLengths(50.0, None))
    two = EngineTraffic(300, 100.0, ObservedLengths(100.0, 500.0), ObservedLengths(50.0, None))
    text, fleet = drafted(written(line, traffic=one), written(f"{line} --seed 5", traffic=two), written(line))
    [workload] = fleet.workloads
    [window] = workload.demand.windows
    assert window.rate_rps == pytest.approx(5.0)
    assert "input_tokens: mean: 150.0 p99: 1000.0" in text
    assert "400 requests of 100 s: means over the whole life of the server" in text
    assert "unknown: the requests of 1 of its 3 servers" in text
    assert "unknown: whether this is meant: here has other flags: --seed 5" in text


def test_seldom_requests_are_counted_per_hour() -> None:
    text, _ = drafted(written(LLAMA, traffic=EngineTraffic(1, 360_000.0, None, None)))
    assert "rate: 0.010/h" in text
    assert "unknown: input_tokens: nothing was counted; a placeholder" in text


def test_ports_that_servers_have_are_kept() -> None:
    _, fleet = drafted(written(f"{LLAMA} --port 8000"), written("Qwen/Qwen3-0.6B --port 8005"))
    assert (fleet.policy.ports.start, fleet.policy.ports.end, fleet.policy.router.port) == (8000, 8079, 8080)
    _, fleet = drafted(written(f"{LLAMA} --port 8000"), written("Qwen/Qwen3-0.6B --port 9900"))
    assert (fleet.policy.ports.end, fleet.policy.router.port, fleet.policy.router.admin_port) == (10_000, 10_001, 10_002)


def test_two_models_of_one_name_are_told_apart() -> None:
    _, fleet = drafted(written(f"{LLAMA} --served-model-name chat"), written("Qwen/Qwen3-0.6B --served-model-name chat"))
    assert [model.name for model in fleet.models] == ["chat", "chat-2"]


def test_models_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    text, fleet = drafted(written(LLAMA), written("own/thing"))
    assert "unknown: thing is left out, and its workload with it" in text
    assert len(fleet.models) == 1
    with pytest.raises(ValueError, match="here: source: own/thing is not in the catalogue"):
        fleet_draft((written("own/thing"),), None, builtin(), Path("fleet.yaml"))
    with pytest.raises(ValueError, match="no model of these servers is known here"):
        fleet_draft((written("--port 8000"),), None, builtin(), Path("fleet.yaml"))


def test_units_and_compose_files_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.service").write_text(UNIT, encoding="utf-8")
    Path("c.yml").write_text(COMPOSE, encoding="utf-8")
    result = ullage("import", "--from-unit", "a.service", "--from-compose", "c.yml", "-o", "fleet.yaml")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("wrote fleet.yaml: 3 servers; ")
    assert ullage("validate", "fleet.yaml").code == 0
    again = ullage("import", "--from-unit", "a.service")
    assert (again.code, again.err) == (1, "error: fleet.yaml exists; give the name of a new file with -o\n")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    target = str(tmp_path / "fleet.yaml")
    (tmp_path / "odd.yml").write_bytes(b"\xff\xfe")
    for option, name, said in (
        ("--from-unit", "absent.service", "there is no such file; give a systemd unit or a compose file"),
        ("--from-compose", "odd.yml", "not UTF-8 text (byte 0)"),
    ):
        result = ullage("import", option, str(tmp_path / name), "-o", target)
        assert (result.code, result.out) == (1, "")
        assert said in result.err
    assert not Path(target).exists()


def test_servers_that_run(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.nvml.machine_readings.read_host", lambda: HostReading(host_cores=96, memory_mib=1 << 20))
    [port] = free_ports(1)
    process = start(LLAMA, "--served-model-name", "chat", "--max-model-len", "4096", port=port, STAND_IN_VERSION="0.30.0")
    pretend(monkeypatch, tmp_path).machine([H100, H100], f"process 1 -1 {process.pid} 100")
    target = tmp_path / "fleet.yaml"
    result = ullage("import", "--engines", "--port", str(port), "-o", str(target))
    assert (result.code, result.err) == (0, "")
    assert ullage("validate", str(target)).code == 0
    text = target.read_text(encoding="utf-8")
    assert f"# process {process.pid} of " in text
    fleet = load_fleet(target, text, builtin())
    assert (fleet.pools[0].gpu.name, fleet.models[0].engine_version, fleet.policy.ports.start) == ("H100-SXM-80GB", "0.30.0", port)
    assert "100 requests of " in text
    other = ullage("import", "--port", "1", "-o", str(tmp_path / "none.yaml"))
    assert (other.code, other.err.partition(",")[0]) == (1, "error: no vLLM server runs on this machine on port 1")
