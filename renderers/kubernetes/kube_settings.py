"""What users may set for the targets kubernetes and helm."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from renderers.engine_image import ImageRepository
from renderers.kubernetes.kube_names import LABEL_PATTERN, POOL
from renderers.render_target import TargetSettings

Placement = Literal["node", "spread"]
GpuAccess = Literal["dra", "device-plugin"]
Monitoring = Literal["pod-monitor", "none"]
Scaling = Literal["none", "keda"]
Routing = Literal["groups", "replicas", "inference-pools"]

DnsLabel = Annotated[str, Field(pattern=LABEL_PATTERN, max_length=63, description="small letters, digits and - between them")]
HttpUrl = Annotated[
    str,
    Field(
        pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._/-]*)?$",
        max_length=200,
        description="where Prometheus answers inside the cluster, for example http://prometheus.monitoring:9090",
    ),
]
# A label's key with its prefix.
LabelKey = Annotated[
    str,
    Field(
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        max_length=120,
        description="the key of a label, for example example.org/node",
    ),
]


# Labels in these domains belong to Kubernetes.
_OTHERS = ("kubernetes.io", "k8s.io")


class KubernetesSettings(TargetSettings):
    """Settings of the targets kubernetes and helm (docs/kubernetes.md describes each)."""

    namespace: DnsLabel = "ullage"
    image: ImageRepository = "vllm/vllm-openai"
    devices: GpuAccess = "dra"
    placement: Placement = "node"
    node_label: LabelKey = "ullage.dev/node"
    credentials_secret: DnsLabel = "ullage-credentials"  # noqa: S105 -- the name of a Secret, not what is in it
    cache_claim: str = ""
    models_claim: str = ""
    models_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$", max_length=200, description="an absolute path")] = "/models"
    gateway: DnsLabel = "inference-gateway"
    gateway_namespace: DnsLabel = "gateway"
    proxy_namespace: str = ""
    monitoring: Monitoring = "pod-monitor"
    monitoring_namespace: DnsLabel = "monitoring"
    routing: Routing = "groups"
    scaling: Scaling = "none"
    prometheus: HttpUrl = "http://prometheus-operated.monitoring:9090"

    @field_validator("cache_claim", "models_claim", "proxy_namespace")
    @classmethod
    def _is_a_claim(cls, value: str) -> str:
        if value and not re.fullmatch(LABEL_PATTERN, value):
            raise ValueError("is no name in Kubernetes: small letters, digits and - between them")
        return value

    @field_validator("node_label")
    @classmethod
    def _is_ours(cls, value: str) -> str:
        domain = value.partition("/")[0] if "/" in value else ""
        if value == POOL or domain in _OTHERS or domain.endswith(tuple(f".{each}" for each in _OTHERS)):
            raise ValueError("label-nodes.sh would overwrite what others rely on; use a key of your own")
        return value
