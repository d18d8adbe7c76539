"""Names as Kubernetes takes them: DNS labels of at most 63 characters, and values of labels."""

from __future__ import annotations

import hashlib
import re

# RFC 1123; Kubernetes uses it for the names of namespaces, Services and most other objects.
LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_LABEL = re.compile(LABEL_PATTERN)
# Our choice below the 63 that a label may have: it leaves room for the suffixes that Deployments give to their Pods.
LONGEST = 47


def dns_label(name: str) -> str:
    """Name as a DNS label: itself where it is one, else what is left of it with a hash that keeps names apart.

    >>> dns_label("llama-8b-0"), dns_label("Qwen/Qwen3.5 8B")
    ('llama-8b-0', 'qwen-qwen3-5-8b-88b0a8a3')
    """
    if _LABEL.fullmatch(name) and len(name) <= LONGEST:
        return name
    safe = re.sub(r"[^a-z0-9]+", "-", name.lower())[: LONGEST - 9].strip("-")
    return f"{safe or 'x'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
