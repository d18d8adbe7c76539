"""Python's collector of cycles, for the time of a solve: it looks again and again at all that a process holds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def old_objects_left_alone() -> Iterator[None]:
    """The collector leaves alone what there is at the start: of a large fleet that is millions of objects, and none of them becomes free.

    A process that is started meanwhile shares their memory for longer, too. What somebody else has frozen stays so, and nothing is added.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
