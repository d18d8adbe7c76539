"""The GPUs of a plan as text: one line per GPU with a bar, and one per replica on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from planner.plan import Desired, GpuPlan, GpuThroughput, Replica, SharingSaving, gpu_throughputs
from ullage.views.words import MIB_PER_GIB, MODE_WORDS

BAR_WIDTH = 32


def gpu_text_lines(desired: Desired) -> Iterator[str]:
    """A legend, every node with its GPUs, and what sharing them saves."""
    yield "GPUs (# weights, = KV cache the plan needs, ~ KV cache grown into spare memory, + overhead, . free; busy: at planned peak rates)"
    by_node: defaultdict[str, list[GpuPlan]] = defaultdict(list)
    for gpu in desired.gpus:
        by_node[gpu.node].append(gpu)
    replicas = {replica.name: replica for replica in desired.replicas}
    throughputs = gpu_throughputs(desired)
    for node in desired.nodes:
        yield f"  {node.name}  {node.host}  {node.gpu_count} x {node.gpu_type}"
        for word, gpus in groupby(by_node[node.name], key=_unused):
            if word:
                yield _unused_line(list(gpus), word)
            else:
                for gpu in gpus:
                    yield from _gpu_lines(gpu, replicas, throughputs.get((gpu.node, gpu.index)))
    saving = desired.sharing_saving
    if saving is not None and saving.measured_gpus + saving.assumed_gpus:
        yield saving_line(saving)


def saving_line(saving: SharingSaving) -> str:
    """What sharing saves, apart for measured and for assumed interference."""
    both_usd_per_h = saving.measured_usd_per_h + saving.assumed_usd_per_h
    return (
        f"  sharing saves {saving.measured_gpus + saving.assumed_gpus} GPUs ({both_usd_per_h:.2f} USD/h) compared with one GPU per "
        "replica: "
        f"{saving.measured_gpus} ({saving.measured_usd_per_h:.2f} USD/h) where interference is measured, "
        f"{saving.assumed_gpus} ({saving.assumed_usd_per_h:.2f} USD/h) where it is assumed"
    )


def _unused(gpu: GpuPlan) -> str:
    """Why a GPU holds nothing of ours; empty when it does."""
    if gpu.mode != "free":
        return ""
    return "taken by others" if gpu.taken_mib >= gpu.memory_mib else "free"


def _unused_line(gpus: Sequence[GpuPlan], word: str) -> str:
    span = f"{gpus[0].index}" if len(gpus) == 1 else f"{gpus[0].index}-{gpus[-1].index}"
    return f"    GPU {span:<4} {word}"


def _gpu_lines(gpu: GpuPlan, replicas: dict[str, Replica], throughput: GpuThroughput | None) -> Iterator[str]:
    grown_mib = sum(replicas[name].kv_grown_mib for name in gpu.replicas)
    floor = f" (floor {_gib(gpu.kv_mib - grown_mib).strip()})" if grown_mib else ""
    tokens = f"  {words}" if (words := throughput_words(throughput)) else ""
    assumed = "" if gpu.interference == "none" else f"  interference {gpu.interference}"
    yield (
        f"    GPU {gpu.index:<4} [{_bar(gpu, grown_mib)}]  weights {_gib(gpu.weights_mib)}  KV {_gib(gpu.kv_mib)}{floor}"
        f"  overhead {_gib(gpu.overhead_mib)}  free {_gib(gpu.free_mib)} GiB  "
        f"busy {gpu.busy_fraction:4.0%}{tokens}  {MODE_WORDS[gpu.mode]}{assumed}"
    )
    for name in gpu.replicas:
        replica = replicas[name]
        place = f"{replica.mig.profile} at {replica.mig.start}  " if replica.mig else ""
        threads = f"{replica.threads} % of threads  " if replica.threads else ""
        tpot = "" if replica.args.runner == "pooling" else f"  TPOT {replica.forecast.tpot_s * 1000:.0f} ms"
        yield (
            f"             {place}{threads}{name}  {replica.planned_rps:.2f} of {replica.capacity_rps:.2f} requests/s"
            f"  TTFT {replica.forecast.ttft_s * 1000:.0f} ms{tpot}"
        )


def _bar(gpu: GpuPlan, grown_mib: int) -> str:
    bar = ""
    filled_mib = 0
    parts = (("#", gpu.weights_mib), ("=", gpu.kv_mib - grown_mib), ("~", grown_mib), ("+", gpu.overhead_mib))
    for sign, part_mib in parts:
        filled_mib += part_mib
        bar += sign * (round(BAR_WIDTH * filled_mib / gpu.memory_mib) - len(bar))
    return bar.ljust(BAR_WIDTH, ".")


def throughput_words(found: GpuThroughput | None) -> str:
    """Output tokens/s at the planned load of what they may become; empty where nothing is generated."""
    if found is None or not found.planned_tokens_per_s:
        return ""
    return f"{found.planned_tokens_per_s:.0f} of {found.capacity_tokens_per_s:.0f} tokens/s"


def _gib(mib: int) -> str:
    return f"{mib / MIB_PER_GIB:5.1f}"
