"""MIG layouts: a configuration of NVIDIA's mig-parted for clusters, and scripts with start slots for hosts.

mig-parted names how many instances of each profile there are, never where. That is enough where every way in which the driver may
place them ends in these counts; a node where it may not is left out of the configuration, and only its script remains.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from planner.plan import GpuPlan, Plan
from planner.plan.places.mig_slots import slots_matter
from renderers.kubernetes.kube_names import dns_label
from renderers.manifest import File, Manifest
from renderers.names import file_name
from renderers.render_target import RenderTarget, TargetSettings
from renderers.templates import comment, template
from renderers.yaml_document import Document, yaml_text


def render(plan: Plan, _: TargetSettings) -> Manifest:
    """`config.yaml` (mig-parted), `label-nodes.sh` and `exact/NODE.sh`; a node without MIG is told so too."""
    desired = plan.desired
    gpus: defaultdict[str, list[GpuPlan]] = defaultdict(list)
    for gpu in desired.gpus:
        gpus[gpu.node].append(gpu)
    nodes = sorted(gpus)
    uncertain = {node: [gpu for gpu in gpus[node] if gpu.mig_layout and slots_matter(desired, gpu)] for node in nodes}
    by_counts = [node for node in nodes if not uncertain[node]]
    files = [File(f"exact/{file_name(node)}.sh", _exact(node, gpus[node]), executable=True) for node in nodes]
    if by_counts:
        config: Document = {"version": "v1", "mig-configs": {dns_label(node): _layouts(gpus[node]) for node in by_counts}}
        files.append(File("config.yaml", _left_out(uncertain) + yaml_text(config)))
        labels = template("mig_parted", "label-nodes.sh.j2").render(nodes=[(node, dns_label(node)) for node in by_counts])
        files.append(File("label-nodes.sh", labels, executable=True))
    return tuple(files)


def _layouts(gpus: list[GpuPlan]) -> list[Document]:
    """GPUs of one node by equal layouts, in the order of their first."""
    alike: defaultdict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for gpu in sorted(gpus, key=lambda gpu: gpu.index):
        alike[tuple(sorted(Counter(place.profile for place in gpu.mig_layout).items()))].append(gpu.index)
    return [
        {"devices": devices, "mig-enabled": bool(counts), **({"mig-devices": dict(counts)} if counts else {})}
        for counts, devices in alike.items()
    ]


def _left_out(uncertain: dict[str, list[GpuPlan]]) -> str:
    lines = []
    for node, gpus in uncertain.items():
        if gpus:
            numbers = ", ".join(str(gpu.index) for gpu in gpus)
            lines.append(f"# Left out: {comment(node)}, because the counts of GPU {numbers} do not fit wherever the driver may put them;")
            lines.append(f"# use exact/{file_name(node)}.sh there.")
    return "".join(f"{line}\n" for line in lines)


def _exact(node: str, gpus: list[GpuPlan]) -> str:
    layouts = [
        (gpu.index, " ".join(f"{place.profile}:{place.start}" for place in sorted(gpu.mig_layout, key=lambda place: place.start)))
        for gpu in sorted(gpus, key=lambda gpu: gpu.index)
    ]
    return template("mig_parted", "exact.sh.j2").render(node=node, layouts=layouts)


TARGET = RenderTarget(render)
