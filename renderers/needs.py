"""What targets need of a plan. Each need names every place in the plan where it does not hold, and says what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from planner.hosts import address_of, is_everywhere, is_loopback
from planner.plan import WORKLOAD_HEADER, Desired, is_shared
from planner.plan.local_paths import is_relative, local_paths


@dataclass(frozen=True, slots=True)
class Need:
    """What a target needs: lacking yields each field of the plan that is against it with the reason, otherwise says what to do then."""

    lacking: Callable[[Desired], Iterator[str]]
    otherwise: str


def _unknown_hosts(desired: Desired) -> Iterator[str]:
    used = {replica.node for replica in desired.replicas}
    nodes = [node for node in desired.nodes if node.name in used]
    if len(nodes) < 2:
        return
    by_address: defaultdict[str, list[str]] = defaultdict(list)
    for node in nodes:
        by_address[address_of(node.host)].append(node.name)
        if is_loopback(node.host) or is_everywhere(node.host):
            yield f"nodes.{node.name}.host: {node.host!r} is no address at which one machine reaches another"
    for address, names in sorted(by_address.items()):
        if len(names) > 1 and not is_loopback(address):
            yield f"nodes.{names[0]}.host: {address!r} is also the address of {', '.join(names[1:])}"


def _more_nodes(desired: Desired) -> Iterator[str]:
    nodes = sorted({replica.node for replica in desired.replicas})
    if len(nodes) > 1:
        named = ", ".join([*nodes[:4], *(["..."] if len(nodes) > 4 else [])])
        yield f"replicas: they are on {len(nodes)} nodes ({named}), and one is all it knows"


def with_company(desired: Desired) -> frozenset[str]:
    """Names of the replicas that share a GPU with another one, in MIG instances of their own apart."""
    on_gpu: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for replica in desired.replicas:
        if is_shared(replica.mode):
            on_gpu[replica.node, replica.gpus[0]].append(replica.name)
    return frozenset(name for names in on_gpu.values() if len(names) > 1 for name in names)


def _time_shared(desired: Desired) -> Iterator[str]:
    company = with_company(desired)
    for replica in desired.replicas:
        if replica.mode == "time_shared" and replica.name in company:
            yield f"replicas.{replica.name}.mode: it shares GPU {replica.gpus[0]} of {replica.node} with others"


def _mps(desired: Desired) -> Iterator[str]:
    for replica in desired.replicas:
        if replica.mode == "mps":
            where = f"GPU {replica.gpus[0]} of {replica.node}"
            yield f"replicas.{replica.name}.mode: it shares {where} by MPS, which needs a daemon on that GPU that this target does not run"


def _mig(desired: Desired) -> Iterator[str]:
    for replica in desired.replicas:
        if replica.mig is not None:
            yield f"replicas.{replica.name}.mig: it has a MIG instance ({replica.mig.profile}), which it cannot ask for"


def _sleeping(desired: Desired) -> Iterator[str]:
    for sleeper in desired.asleep:
        yield f"asleep.{sleeper.name}: a replica that sleeps must be put to sleep by somebody"


def _sleep_mode(desired: Desired) -> Iterator[str]:
    for replica in desired.replicas:
        if replica.args.enable_sleep_mode:
            where = f"replicas.{replica.name}.args.enable_sleep_mode"
            yield f"{where}: other machines must reach it, and then anyone could send it to sleep"


def _relative_paths(desired: Desired) -> Iterator[str]:
    for replica in desired.replicas:
        for field, path in local_paths(replica.args):
            if is_relative(path):
                yield f"replicas.{replica.name}.args.{field}: {path!r} starts from the folder of the fleet file, which is not there"


def _names_as_hosts(desired: Desired) -> Iterator[str]:
    for node in sorted({replica.node: replica.host for replica in desired.replicas}.items()):
        try:
            ip_address(node[1])
        except ValueError:
            yield f"nodes.{node[0]}.host: {node[1]!r} is no IP address"


def _split_prompts(desired: Desired) -> Iterator[str]:
    for route in desired.routes:
        if route.longer is not None:
            yield (
                f"routes.{route.served_name}.longer: requests of more than {route.longer.over_bytes} bytes go to other replicas, and it "
                "does not look at the size of a request"
            )


def _apart(desired: Desired) -> Iterator[str]:
    for route in desired.routes:
        for rule in route.apart:
            yield (
                f"routes.{route.served_name}.apart: requests of {rule.workload} go to replicas of their own, and it does not look at the "
                f"header {WORKLOAD_HEADER}"
            )


HOSTS_KNOWN = Need(_unknown_hosts, "give the pool's nodes addresses of their own (pools.NAME.hosts) and plan again")
HOSTS_ARE_IP_ADDRESSES = Need(_names_as_hosts, "give the pool's hosts as IP addresses and plan again")
ONE_NODE = Need(_more_nodes, "plan a fleet with one node, or choose a target for several")
NO_TIME_SHARING = Need(_time_shared, "take time_shared out of the pool's `sharing` and plan again, or choose a target that can pin a GPU")
NO_MPS = Need(_mps, "take mps out of the pool's `sharing` and plan again, or choose vllm or systemd")
NO_MIG = Need(_mig, "take mig out of the pool's `sharing` and plan again, or choose a target that knows MIG instances")
NOBODY_ASLEEP = Need(_sleeping, "wake it (ullage wake), or use ullage apply, which does it")
NO_SLEEP_MODE = Need(_sleep_mode, "take `sleep` off the model and plan again")
NO_SPLIT_PROMPTS = Need(
    _split_prompts, "take `split` off the workload and plan again, or choose a router that tells lengths apart: envoy, haproxy or nginx"
)
NOBODY_APART = Need(_apart, "write `isolate: true` on the workload and plan again, so that it has a model name of its own; or choose envoy")
NO_RELATIVE_PATHS = Need(_relative_paths, "name the model as it is called on a hub, or by an absolute path that exists wherever it runs")
