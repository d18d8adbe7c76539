"""One state folder has engines of one kind, which it remembers."""

from __future__ import annotations

from executor.backends.protocol import Backend
from executor.errors import ExecutorError
from executor.state.folder import StateFolder


def keep_engine(folder: StateFolder, engine: str, backend: Backend) -> None:
    """Note the kind of engine that is about to be started. Raises ExecutorError while any of another kind is recorded there."""
    before = folder.engine()
    if before not in (None, engine) and (folder.load().replicas or backend.observe()):
        raise ExecutorError(
            f"{folder.root} was applied with --engine {before}, and its replicas are still there; "
            f"go on with --engine {before}, or `ullage destroy` them before --engine {engine}"
        )
    if before != engine or not folder.engine_path.exists():
        folder.set_engine(engine)
