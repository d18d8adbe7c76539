"""Steps of a playbook, executed by a real Envoy: who is refused, what stays so, and the way back."""

from __future__ import annotations

import asyncio
import http.client
import json

import pytest

from executor.applying.destroy import destroy
from executor.applying.playbook_run import change_refused
from executor.errors import LockedError, StateError
from executor.reconcile.attempts import Attempts, BackOff
from executor.reconcile.health import HealthWatch, Patience
from executor.reconcile.memory import PassReport
from executor.reconcile.observe import Observer
from executor.reconcile.reconciler import Reconciler, Surroundings
from executor.reconcile.run import unknown_kv
from executor.state.goal import goal_of
from executor.state.journal import Journal
from executor.state.lock import locked
from executor.state.refused import refused_now
from planner.plan import WORKLOAD_HEADER, BurstStep, Plan
from planner.playbook.refusals import Refusals
from tests.executor.worlds import World, engine, free_ports


def shared_plan(world: World) -> Plan:
    """Two workloads on llama, one on qwen."""
    ports = free_ports(2)
    plan = world.plan([engine("llama-0", ports[0]), engine("qwen-0", ports[1], gpu=1)])
    workloads = []
    for item in plan.desired.workloads:
        names = ("chat", "batch") if item.served_name == "llama" else ("code",)
        workloads += [item.model_copy(update={"name": name, "rate_rps": 1.0}) for name in names]
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"workloads": tuple(workloads)})})


def ask(world: World, model: str, workload: str | None = None) -> tuple[int, str | None, dict[str, object]]:
    """Status, Retry-After and body of the answer to a request."""
    connection = http.client.HTTPConnection(world.router.host, world.router.port, timeout=60)
    headers = {"content-type": "application/json"} | ({} if workload is None else {WORKLOAD_HEADER: workload})
    try:
        connection.request("POST", "/v1/completions", json.dumps({"model": model, "prompt": "x", "max_tokens": 1}), headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["retry-after"], json.loads(answer.read())
    finally:
        connection.close()


def answers(world: World) -> dict[str, int]:
    """The status for each workload, and for a request that names none."""
    asked = {"chat": "llama", "batch": "llama", "code": "qwen"}
    return {"nobody": ask(world, "llama")[0]} | {workload: ask(world, model, workload)[0] for workload, model in asked.items()}


ALL_SERVED = {"nobody": 200, "chat": 200, "batch": 200, "code": 200}


def refusing(workload: str) -> BurstStep:
    """A step that says nothing of its effects: whoever does it does not ask."""
    return BurstStep(workload=workload, frees=(), takes_s=0.0, refused_rps=0.0, attainment_fraction=1.0, late_rps={})


def change(world: World, *, more: tuple[str, ...] = (), fewer: tuple[str, ...] = (), plan: Plan | None = None) -> Refusals:
    steps, back = (tuple(map(refusing, names)) for names in (more, fewer))
    return asyncio.run(change_refused(world.folder, world.backend(), more=steps, fewer=back, plan=plan, on_event=world.events.append))


def passed(world: World) -> PassReport:
    """A pass of the reconcile loop."""
    backend = world.backend()
    watch = HealthWatch(Patience(silent_s=30.0, still_s=30.0, try_every_s=60.0, try_limit_s=10.0))
    surroundings = Surroundings(
        folder=world.folder,
        backend=backend,
        observer=Observer(backend, watch, unknown_kv, lambda: 1000.0),
        attempts=Attempts(BackOff(), lambda: 0.0, ()),
        clock=lambda: 1000.0,
    )
    return asyncio.run(Reconciler(surroundings).once(lambda: goal_of(world.folder)))


def test_steps_refuse_only_whom_they_name_and_the_way_back_lets_all_in(world: World) -> None:
    plan = shared_plan(world)
    state = asyncio.run(world.apply(plan))
    assert answers(world) == ALL_SERVED

    assert change(world, more=("batch",), plan=plan).workloads == ("batch",)
    assert answers(world) == ALL_SERVED | {"batch": 503}
    status, retry_after, body = ask(world, "llama", "batch")
    assert (status, retry_after is not None, "error" in body) == (503, True, True)

    assert change(world, more=("code", "batch")).workloads == ("batch", "code")
    assert answers(world) == ALL_SERVED | {"batch": 503, "code": 503}
    assert ask(world, "qwen")[1] is not None
    # nothing else has changed: a plan that was made before can still be applied, and nobody reports a difference
    assert world.folder.load() == state
    report = world.status()
    assert (report.drift, report.refused) == ((), ("batch", "code"))
    assert [(row.name, row.condition) for row in report.replicas] == [("llama-0", "ready"), ("qwen-0", "ready")]

    assert change(world, fewer=("batch",)).workloads == ("code",)
    assert answers(world) == ALL_SERVED | {"code": 503}
    assert change(world, fewer=("code", "batch")).workloads == ()
    assert answers(world) == ALL_SERVED
    assert not world.folder.refused_path.exists()
    noted = [record["detail"] for record in Journal(world.folder.journal_path).records if record.get("subject") == "playbook"]
    assert noted == ["refuses batch", "refuses batch, code", "refuses code", "refuses nobody"]


def test_who_is_refused_stays_so_through_passes_a_dead_router_and_another_apply(world: World) -> None:
    plan = shared_plan(world)
    asyncio.run(world.apply(plan))
    change(world, more=("batch", "code"))
    refused = ALL_SERVED | {"batch": 503, "code": 503}
    assert passed(world).outcome == "steady"
    assert answers(world) == refused
    world.kill("router")
    assert passed(world).failures == ()
    assert answers(world) == refused
    asyncio.run(world.apply(world.plan(plan.desired.replicas)))
    assert answers(world) == refused


def test_an_interrupted_step_is_gone_on_with_by_the_next_pass(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(world.apply(shared_plan(world)))

    async def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("executor.router.envoy.EnvoyRouter.ensure", crash)
        with pytest.raises(KeyboardInterrupt):
            change(world, more=("batch",))
    assert answers(world) == ALL_SERVED
    assert passed(world).failures == ()
    assert answers(world) == ALL_SERVED | {"batch": 503}


def test_what_cannot_be_done_is_refused_and_destroy_forgets(world: World) -> None:
    with pytest.raises(StateError, match="no plan is applied from this state folder"):
        change(world, more=("batch",))
    plan = shared_plan(world)
    asyncio.run(world.apply(plan))
    with pytest.raises(StateError, match="stranger: no workload of the plan that is kept"):
        change(world, more=("stranger",))
    other = plan.model_copy(update={"desired": plan.desired.model_copy(update={"cost_usd_per_h": 1.0})})
    with pytest.raises(StateError, match="another plan than this one is kept"):
        change(world, more=("batch",), plan=other)
    with locked(world.folder.lock_path, "apply"), pytest.raises(LockedError):
        change(world, more=("batch",))
    change(world, more=("batch",))
    world.folder.refused_path.write_text("{", encoding="utf-8")
    with pytest.raises(StateError, match=r"refused\.json: cannot be read"):
        refused_now(world.folder)
    destroy(world.folder.root, open_backend=lambda *_: world.backend())
    assert not world.folder.refused_path.exists()
