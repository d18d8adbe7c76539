"""One hash for what a store holds, whatever its files are called."""

from __future__ import annotations

import hashlib
import json

from profiles.store.measurements import Measurements
from profiles.store.point_text import encoded


def digest(measurements: Measurements) -> str | None:
    """SHA-256 of the points as a store would hold them, None without any; equal points (profiles.store.canonical) give equal hashes."""
    if not measurements:
        return None
    return hashlib.sha256(json.dumps(encoded(measurements), sort_keys=True).encode()).hexdigest()
