"""A fleet of tiny models on CPU devices: its plan, and what runs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from executor.processes import table as processes
from executor.state.folder import StateFolder
from planner.plan import Plan, plan_from_json
from tests.ports import free_ports
from tests.ullage.commands import ullage

NAMES = ("gemma", "llama", "qwen")


def living(folder: Path) -> dict[str, tuple[int, ...]]:
    """Processes that were started from a state folder and live."""
    state = StateFolder(folder)
    records = processes.ProcessTable(state.processes, state.logs).records() if folder.exists() else ()
    return {record.name: found for record in records if (found := processes.members(record))}


def planned(models: Path, *names: str, patient: str | None = None) -> Plan:
    """The plan of the tiny models of these names on two CPU devices; gemma shares with nobody.

    patient is one of them, for which a workload of this name in the background asks too.
    """
    first = free_ports(10)[0]
    limits = {"max_model_len": 1024, "max_num_seqs": 8, "max_num_batched_tokens": 1024, "enforce_eager": True}
    folders = {"llama": "tiny-llama", "qwen": "tiny-qwen3", "gemma": "tiny-gemma3", "bert": "tiny-bert"}
    apart = {"gemma": {"not_with": [name for name in names if name != "gemma"]}}
    fleet: dict[str, Any] = {
        "schema_version": 1,
        "pools": {"cpu": {"gpu": "CPU", "nodes": 1, "gpus_per_node": 2, "price": "0.1 USD/h"}},
        "models": {
            name: {"source": str(models / folders[name]), **limits, **({"task": "embed"} if name == "bert" else {})} for name in names
        },
        "workloads": {
            name: {
                "model": name,
                "slo": {"ttft_p95": "10s"} if name == "bert" else {"ttft_p95": "10s", "tpot_p95": "500ms"},
                "demand": {"rate": "0.2/s", "input_tokens": 100, "output_tokens": 0 if name == "bert" else 20},
                **apart.get(name, {}),
            }
            for name in names
        },
        "policy": {"router": {"port": first, "admin_port": first + 1}, "ports": {"start": first + 2, "end": first + 9}},
    }
    if patient is not None:
        slow = {"ttft_p95": "30s", "tpot_p95": "500ms"}
        demand = {"rate": "0.1/s", "input_tokens": 100, "output_tokens": 20}
        fleet["workloads"]["patient"] = {"model": patient, "class": "background", "slo": slow, "demand": demand}
    Path("fleet.yaml").write_text(yaml.safe_dump(fleet), encoding="utf-8")
    result = ullage("plan", "-o", "plan.json")
    assert result.code == 0, result.err
    return plan_from_json(Path("plan.json").read_text(encoding="utf-8"), "plan.json")
