"""File names for names that people chose."""

from __future__ import annotations

import hashlib
import re

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Our choice: file systems allow 255 bytes; this leaves room for a hash and an extension.
_LONGEST = 100


def file_name(name: str) -> str:
    """Name as one path component: itself where that is safe, else its safe part and a hash that keeps names apart.

    >>> file_name("qwen3-8b-0")
    'qwen3-8b-0'
    >>> file_name("Qwen/Qwen3 8B")
    'Qwen_Qwen3_8B-8da3eba6'
    """
    if _SAFE.fullmatch(name) and len(name) <= _LONGEST:
        return name
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:_LONGEST].lstrip(".-")
    return f"{safe or 'name'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
