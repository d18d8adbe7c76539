"""Events, status and destroy reports as text."""

from __future__ import annotations

from executor.applying.destroy import DestroyReport
from executor.events import Event
from executor.status import GpuStatus, ReplicaStatus, StatusReport
from ullage.views.words import table


def event_line(event: Event) -> str:
    """What apply or destroy just did, as one line (several when a detail has them)."""
    detail = f": {event.detail}" if event.detail else ""
    if event.what == "note":
        return f"note: {event.subject}{detail}"
    where = f"[{event.step}/{event.steps}] " if event.step else ""
    return f"{where}{event.kind} {event.subject} {event.what}{detail}"


def status_text(report: StatusReport) -> str:
    """One line per replica, the router, then every difference; ends in a newline."""
    lines = [f"state serial {report.serial}: {len(report.replicas)} replicas"]
    if report.replicas:
        heading = ("replica", "condition", "pid", "node", "GPU", "port", "MiB", "running", "waiting", "KV use")
        lines += table([heading, *(_row(row) for row in report.replicas)])
    if report.router is not None:
        alive = f"runs (pid {report.router.pid})" if report.router.alive else "does not run"
        lines.append(f"router at {report.router.host}:{report.router.port} {alive}")
    if report.refused:
        lines.append(f"refused while another workload has a burst: {', '.join(report.refused)} (`ullage playbook run ... --undo`)")
    if report.burst_moves:
        lines.append(f"while another workload has a burst: {'; '.join(report.burst_moves)} (`ullage playbook run ... --undo`)")
    lines += [_gpu_line(gpu) for gpu in report.gpus if gpu.held_mib or gpu.planned_mib]
    lines += _pass_lines(report)
    lines += [f"drift: {line}" for line in report.drift] or ["no drift: what runs is what the state says"]
    return "\n".join(lines) + "\n"


def _gpu_line(gpu: GpuStatus) -> str:
    foreign = f", {gpu.foreign_mib} MiB of it by others" if gpu.foreign_mib else ""
    return f"GPU {gpu.index} of {gpu.node}: {gpu.planned_mib} of {gpu.memory_mib} MiB planned, {gpu.held_mib} MiB held{foreign}"


def _pass_lines(report: StatusReport) -> list[str]:
    """The last pass of the loop that looked, and the last that did something."""
    looked = [item for item in report.passes if item.outcome != "busy"]
    acted = [item for item in looked if item.actions or item.failures]
    if not looked:
        return []
    lines = [f"reconcile: last pass {looked[-1].at}, {looked[-1].outcome}"]
    if acted:
        last = acted[-1]
        what = "; ".join((*last.actions, *(f"failed: {line.partition(chr(10))[0]}" for line in last.failures)))
        lines.append(f"reconcile: last did something {last.at}: {what}")
    return lines


def _row(row: ReplicaStatus) -> tuple[str, ...]:
    load = row.load
    return (
        row.name,
        row.condition,
        _or_dash(row.pid),
        row.node or "-",
        ",".join(map(str, row.gpus)) or "-",
        _or_dash(row.port),
        _or_dash(row.memory_mib),
        _or_dash(load.running if load else None),
        _or_dash(load.waiting if load else None),
        f"{load.kv_fraction:.0%}" if load else "-",
    )


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def destroy_text(report: DestroyReport) -> str:
    """What was stopped and what, if anything, is left; ends in a newline."""
    lines = [f"stopped {len(report.stopped)} processes" if report.stopped else "nothing was running"]
    if report.over_commits is not None:
        lines.append(f"memory over-commits recorded by the emulated GPUs: {report.over_commits}")
    lines += [f"left over: {line}" for line in report.leftovers] or ["no process is left"]
    return "\n".join(lines) + "\n"
