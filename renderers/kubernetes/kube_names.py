"""Names as Kubernetes takes them: DNS labels of at most 63 characters."""

from __future__ import annotations

import hashlib
import re

POOL = "ullage.dev/pool"
"""Label of nodes that holds their pool."""
MODEL = "ullage.dev/model"
"""Label of Pods that holds the model they serve."""

# RFC 1123: names of namespaces and of most other objects.
LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
# RFC 1035: the names of Services begin with a letter.
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# Our choice below the 63 that a label may have: it leaves room for the suffixes that Deployments give to their Pods.
LONGEST = 47


def dns_label(name: str) -> str:
    """Name as a DNS label that any object may have: itself where it is one, else what is left of it with a hash that keeps names apart.

    >>> dns_label("llama-8b-0"), dns_label("Qwen/Qwen3.5 8B"), dns_label("7b-chat")
    ('llama-8b-0', 'qwen-qwen3-5-8b-edc7fe04', 'x7b-chat-e14c5e17')
    """
    if _SERVICE.fullmatch(name) and len(name) <= LONGEST:
        return name
    safe = re.sub(r"[^a-z0-9]+", "-", name.lower())[: LONGEST - 10].strip("-")
    if not safe[:1].isalpha():
        safe = f"x{safe}"
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
