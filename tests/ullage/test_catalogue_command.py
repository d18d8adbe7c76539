"""`ullage catalogue`: lists, everything about one entry, and names nobody knows."""

from __future__ import annotations

import json

import pytest

from profiles.catalogue import builtin
from tests.ullage.commands import ullage


def test_gpus_are_listed_with_memory_and_price() -> None:
    result = ullage("catalogue", "gpus")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == [
        "GPU",
        "type",
        "memory",
        "GiB",
        "bandwidth",
        "GB/s",
        "bf16",
        "TFLOP/s",
        "MIG",
        "profiles",
        "USD/h",
        "listed",
    ]
    [line] = [line for line in lines if line.startswith("  H100-SXM-80GB ")]
    assert line.split() == ["H100-SXM-80GB", "79.2", "3350", "989", "6", "2.95"]
    assert len(lines) == 1 + len(builtin().gpu_names) + 2


def test_models_are_listed_with_layers_and_parameters() -> None:
    result = ullage("catalogue", "models")
    assert (result.code, result.err) == (0, "")
    [line] = [line for line in result.out.splitlines() if line.startswith("  Qwen/Qwen3-30B-A3B ")]
    assert line.split() == ["Qwen/Qwen3-30B-A3B", "48", "30.53e9", "3.04e9", "bfloat16", "40960"]


def test_everything_about_a_gpu_type_has_its_sources() -> None:
    text = ullage("catalogue", "gpus", "h100").out
    assert text.startswith("H100-SXM-80GB\n")
    assert "  memory_usable_mib            81,090 MiB\n" in text
    assert "  MIG 3g.40gb                  40448 MiB, 3 compute and 4 memory slices, at most 2, at start slots 0, 4\n" in text
    assert "    memory_usable_mib: 79.19 GiB, the total vLLM 0.19 logged at start" in text
    # nothing of the entry is left out
    gpu = builtin().gpu("h100")
    assert all(f"    {name}: {source}\n" in text for name, source in gpu.sources.items())


def test_everything_about_a_model_has_its_parts_and_its_source() -> None:
    text = ullage("catalogue", "models", "gpt-oss-120b").out
    assert text.startswith("openai/gpt-oss-120b\n")
    assert "  experts\n    count                        128\n" in text
    assert "  sliding_window_tokens        128\n" in text
    assert text.endswith(f"  source: {builtin().model('gpt-oss-120b').source}\n")


@pytest.mark.parametrize("kind", ["gpus", "models"])
def test_json_is_a_list_or_one_object(kind: str) -> None:
    names = builtin().gpu_names if kind == "gpus" else builtin().model_names
    listed = json.loads(ullage("catalogue", kind, "--json").out)
    assert tuple(item["name"] for item in listed) == names
    one = json.loads(ullage("catalogue", kind, names[0], "--json").out)
    assert one == listed[0]


def test_json_holds_plain_numbers() -> None:
    gpu = json.loads(ullage("catalogue", "gpus", "H100", "--json").out)
    assert (gpu["memory_usable_mib"], gpu["price_usd_per_h"], gpu["mig_profiles"][2]["placement_starts"]) == (81090, 2.95, [0, 2, 4])
    model = json.loads(ullage("catalogue", "models", "Qwen/Qwen3-8B", "--json").out)
    assert (model["layers"], model["kv_heads"], model["parameters"]) == (36, 8, 8_190_726_144)
    # 36 layers of keys and values: 8 heads of 128 values of 2 bytes
    assert model["kv_bytes_per_token"] == 36 * 2 * 8 * 128 * 2


@pytest.mark.parametrize(
    ("kind", "name", "nearest"), [("gpus", "h1000", "H100"), ("models", "Qwen/Qwen3-8C", "Qwen/Qwen3-8B"), ("gpus", "zzz", "similar")]
)
def test_an_unknown_name_gives_the_nearest(kind: str, name: str, nearest: str) -> None:
    result = ullage("catalogue", kind, name)
    assert (result.code, result.out) == (1, "")
    assert name in result.err
    assert nearest in result.err
