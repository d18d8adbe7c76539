"""The proposal of an adoption as text."""

from __future__ import annotations

from executor.hand_started.adoption import AdoptionProposal
from ullage.views.servers_text import printable


def adoption_text(proposal: AdoptionProposal) -> str:
    """One paragraph per server; ends in a newline."""
    lines: list[str] = []
    for item in proposal.servers:
        replica = item.replica
        gpus = ", ".join(map(str, replica.gpus))
        lines.append(f"process {item.pid} becomes replica {replica.name} on GPU {gpus} of {replica.node}, port {replica.args.port}")
        lines.append("  the next plan keeps it as it runs" if item.kept else "  the next plan would replace it: `ullage plan` says by what")
        lines += [f"  {line}" for line in item.differences]
    lines += [f"not adopted: {line}" for line in proposal.refused]
    if not proposal.servers:
        lines.append("no server can be adopted")
    return "\n".join(map(printable, lines)) + "\n"
