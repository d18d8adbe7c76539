"""The memory ledgers of models on one GPU as a table."""

from __future__ import annotations

from profiles.memory.coexistence import Fit
from ullage.views.tables.move_table import TableRow

LEDGER_COLUMNS = ("model", "line", "memory_mib", "provenance")


def ledger_rows(fit: Fit) -> list[TableRow]:
    """One row per model and line of its ledger, in MiB per GPU; a model that cannot run has none."""
    return [
        {"model": resident.model, "line": line.name, "memory_mib": line.memory_mib, "provenance": line.provenance}
        for resident in fit.residents
        for line in resident.lines
    ]
