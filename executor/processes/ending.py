"""The end of everything that was started from a state folder, whatever it is and whether its state can be read."""

from __future__ import annotations

import shutil

from executor.errors import ProcessError
from executor.events import Event, OnEvent
from executor.processes import table as processes
from executor.processes.mps_pipes import is_daemon, remove_folder
from executor.state.folder import StateFolder
from executor.waiting import all_of

# enough for an engine to close its streams and its core; nobody waits for requests here
_GRACE_S = 5.0


async def end_processes(folder: StateFolder, first: str, on_event: OnEvent) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Stop every recorded process group; what ran, and what is left, for people.

    The record called `first` ends before all others, and MPS daemons after the engines that compute through them.
    """
    table = processes.ProcessTable(folder.processes, folder.logs)
    # one record that cannot be read must not keep the others running
    records, damaged = table.readable()
    living = tuple(record.name for record in records if processes.members(record))
    turns = [0 if record.name == first else 2 if is_daemon(record.name) else 1 for record in records]
    for turn in sorted(set(turns)):
        await all_of([_stop(table, record, on_event) for record, own in zip(records, turns, strict=True) if own == turn])
    left = (*(f"{record.name}: process {pid}" for record in records for pid in processes.members(record)), *damaged)
    if not left:
        for runtime in (folder.router, folder.nodes, folder.processes):
            shutil.rmtree(runtime, ignore_errors=True)
    return living, left


async def _stop(table: processes.ProcessTable, record: processes.ProcessRecord, on_event: OnEvent) -> None:
    try:
        await processes.stop(record, _GRACE_S)
    except ProcessError as error:
        on_event(Event("failed", 0, 0, "stop", record.name, str(error)))
        return
    if is_daemon(record.name):
        remove_folder(record.mps_pipes)
    table.forget(record.name)
    on_event(Event("done", 0, 0, "stop", record.name))
