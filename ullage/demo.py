"""The demo: plan, apply on emulated engines, replay the busiest stretch of a real trace, simulate the same, destroy."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from executor.applying.apply import apply
from executor.applying.destroy import DestroyReport, destroy
from executor.backends.engine_kinds import emulated_backend
from executor.backends.protocol import Say
from executor.events import Event
from executor.ports import lasting_rows, obstacle
from planner.plan import Plan, State, to_json
from planner.simulation.traffic_metrics import Summary, WorkloadRow
from planner.spec import Fleet, Ports, RouterAddress
from ullage.inputs import read_fleet, read_trace, write_text
from ullage.planning.plan import plan_fleet
from ullage.traffic.replayed import replay_plan
from ullage.traffic.requests import tagged, window_of
from ullage.traffic.simulate import stressed
from ullage.views.plan.plan_text import headline, plan_text
from ullage.views.progress import replay_progress
from ullage.views.status_text import event_line
from ullage.views.traffic_text import attainment, traffic_text

EXAMPLE = "demo"
TRACE = "arena27.csv.gz"

# The busiest 45 s of the trace hold 150 requests; fourteen times that are 2,100, the rate the example's fleet is sized for.
REPEAT_RATE = 14

# Real engines take 40 to 140 s to start; the demo waits a hundredth of that.
START_SCALE = "0.01"


def example_folder(name: str) -> Path:
    """Folder of a shipped example: inside the installed package, or at the root of a checkout."""
    shipped = files("ullage") / "examples" / name
    if shipped.is_dir():
        with as_file(shipped) as folder:
            return folder
    return Path(__file__).resolve().parent.parent / "examples" / name


def run_demo(seconds: float, folder: Path | None, say: Say) -> bool:
    """Run everything in a folder (None: a temporary one) and tell what happens; False when something was lost or left."""
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: is not empty; name a new folder, so that nothing of yours is overwritten")
    with ExitStack() as stack:
        work = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ullage-demo-")))
        shutil.copytree(example_folder(EXAMPLE), work, dirs_exist_ok=True)
        fleet = on_free_ports(read_fleet(work / "fleet.yaml"))
        say(f"1. Plan {work / 'fleet.yaml'}\n")
        planned = plan_fleet(fleet, State(), verify=True)
        plan = planned.plan
        write_text(work / "plan.json", to_json(plan))
        say(plan_text(plan))
        say(f"solved in {planned.solve_s:.1f} s\n\n2. Apply it: {len(plan.desired.replicas)} emulated engines and Envoy\n")
        state_dir = work / ".ullage"
        with emulated(plan, state_dir, say) as reports:
            live, simulated = _load(plan, work, seconds, state_dir, say)
        say(_verdict(plan, live, simulated, reports[0]))
        return live.total.errors == 0 and not reports[0].leftovers and not reports[0].over_commits


@contextmanager
def emulated(plan: Plan, state_dir: Path, say: Say) -> Iterator[list[DestroyReport]]:
    """The plan applied on emulated engines that start quickly; taken down in the end whatever happens, the report is then in the list."""
    with _start_scale(), _destroyed(state_dir, say) as reports:
        apply(plan, state_dir, emulated_backend, lambda event: _say_event(event, say), engine="emulated")
        yield reports


def _load(plan: Plan, work: Path, seconds: float, state_dir: Path, say: Say) -> tuple[Summary, WorkloadRow]:
    requests, length_s = window_of(read_trace(work / TRACE), seconds, None, REPEAT_RATE)
    traffic = tagged(plan, requests, {})
    say(f"\n3. Replay the busiest {length_s:g} s of {TRACE}, {REPEAT_RATE} times its rate: {len(traffic)} requests\n")
    with replay_progress() as on_progress:
        live, gpus = replay_plan(plan, traffic, length_s, state_dir, on_progress)
    say(traffic_text(live, gpus))
    simulated = stressed(plan, traffic)
    say("The same requests simulated: SLO attainment")
    for name, row in simulated.items():
        say(f"  {name}: {attainment(row)}")
    say("\n4. Destroy\n")
    return live, simulated["nominal"]


def _verdict(plan: Plan, live: Summary, simulated: WorkloadRow, report: DestroyReport) -> str:
    desired = plan.desired
    exclusive = desired.certificate.baselines["exclusive"]
    return "\n".join(
        (
            "",
            f"plan: {headline(desired)}",
            f"one model per GPU would take {exclusive.gpus} GPUs and {exclusive.cost_usd_per_h:.2f} USD/h: "
            f"{exclusive.gpus / desired.gpus_used:.1f} times the GPUs, {exclusive.cost_usd_per_h - desired.cost_usd_per_h:.2f} USD/h more",
            f"requests: {live.total.requests}, failed: {live.total.errors}",
            f"SLO attainment: {attainment(live.total)}; simulated {attainment(simulated)}",
            f"memory over-commits: {report.over_commits}; processes left: {len(report.leftovers)}",
        )
    )


def _say_event(event: Event, say: Say) -> None:
    if event.what != "begun":
        say(f"  {event_line(event)}")


@contextmanager
def _start_scale() -> Iterator[None]:
    """Engines started meanwhile start and wake up in a hundredth of the real time."""
    name = "ULLAGE_EMULATED_START_SCALE"
    before = os.environ.get(name)
    os.environ.setdefault(name, START_SCALE)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


@contextmanager
def _destroyed(state_dir: Path, say: Say) -> Iterator[list[DestroyReport]]:
    """Whatever happens inside, everything that was started is taken down; the report is in the list afterwards."""
    reports: list[DestroyReport] = []
    try:
        yield reports
    finally:
        reports.append(destroy(state_dir))
        say(f"stopped {len(reports[0].stopped)} processes")


def on_free_ports(fleet: Fleet) -> Fleet:
    """The fleet with ports nobody uses now: the demo must not fail because something else listens on 8080."""
    engines = len({workload.served_name for workload in fleet.workloads}) * 3
    ports = _free_ports(engines + 2, fleet.policy.router.host)
    router = RouterAddress(host=fleet.policy.router.host, port=ports[0], admin_port=ports[1])
    policy = fleet.policy.model_copy(update={"router": router, "ports": Ports(start=ports[2], end=ports[-1])})
    return fleet.model_copy(update={"policy": policy})


def _free_ports(count: int, host: str) -> range:
    """So many neighbouring ports that are free now and still will be when the engines start."""
    rows = lasting_rows(count)
    # demos that run at the same time begin to look at different places
    turn = os.getpid() % len(rows)
    for row in (*rows[turn:], *rows[:turn]):
        if all(obstacle(host, port) is None for port in row):
            return row
    raise RuntimeError(f"no {count} neighbouring free ports on {host}; end what listens there")
