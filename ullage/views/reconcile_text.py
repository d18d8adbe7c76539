"""Passes of the reconcile loop as text."""

from __future__ import annotations

from executor.reconcile.memory import PassReport


def pass_text(report: PassReport, *, dry_run: bool = False) -> str:
    """What one pass did and what is left; ends in a newline."""
    lines = []
    if dry_run:
        lines += [f"would {line}" for line in report.actions]
    lines += [f"failed: {line}" for line in report.failures]
    lines += [f"drift: {line}" for line in report.drift]
    lines.append(f"{report.at} {_summary(report, dry_run=dry_run)}")
    return "\n".join(lines) + "\n"


def _summary(report: PassReport, *, dry_run: bool) -> str:
    if report.outcome == "busy":
        return "nothing was done: the state folder is in use"
    if dry_run:
        return f"dry run: {len(report.actions)} actions would be done; nothing was"
    if report.outcome == "failed":
        return f"{len(report.actions)} actions done, {len(report.failures)} failed, in {report.duration_s:.1f} s"
    if report.outcome == "changed":
        return f"{len(report.actions)} actions done in {report.duration_s:.1f} s"
    return "as planned" if not report.drift else "nothing can be done now"
