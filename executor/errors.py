"""What can go wrong while making reality equal to a plan; messages say what, where and what to do."""

from __future__ import annotations

from profiles.sources.failure_causes import FailureCause


class ExecutorError(RuntimeError):
    """Base of every error this package raises on purpose; str() is meant for people."""


class StateError(ExecutorError):
    """The state folder or a file in it cannot be read or written."""


class JournalError(StateError):
    """journal.jsonl is damaged before its last line."""


class LockedError(ExecutorError):
    """Another apply or destroy holds the state folder; the message names its process and since when."""


class StalePlanError(ExecutorError):
    """The plan was made against another state than the one that is there; the message lists the differences."""


class BudgetError(ExecutorError):
    """The disruption budget does not allow a plan now; the message says why and when it would."""


class ProcessError(ExecutorError):
    """A process could not be started, or did not go away."""


class RouterError(ExecutorError):
    """Envoy is missing, refuses its configuration, or did not take the routes in time."""


class CredentialError(ExecutorError):
    """The API key in the environment cannot be sent; the message does not repeat it."""


class AccessError(ExecutorError):
    """An engine answers, but only to those who know its API key."""


class StartError(ExecutorError):
    """A replica did not become ready.

    failure is one of profiles.sources.failure_causes or of executor.start_causes: failure.permanent tells whether the same command
    fails again. cause is its name.
    """

    def __init__(self, replica: str, failure: FailureCause, message: str, shown: str = "", log: str = "") -> None:
        """Replica: its name; message: what happened; shown: the line of the log that shows the cause; log: the log's end, indented."""
        # status shows the first line alone
        lines = [f"replica {replica}: {message} ({failure.name}: {failure.lasts})"]
        lines += [f"  the log shows: {shown}"] if shown else []
        lines.append(f"  what to do: {failure.advice}")
        lines += [f"  {log}"] if log else []
        super().__init__("\n".join(lines))
        self.replica = replica
        self.failure = failure
        self.cause = failure.name


class RegressionError(ExecutorError):
    """A changed replica does worse than what was there before; its name and why."""

    def __init__(self, replica: str, why: str) -> None:
        """Why is a sentence with numbers."""
        super().__init__(f"replica {replica} does worse than before: {why}")
        self.replica = replica
        self.why = why


class RolledBackError(ExecutorError):
    """A change failed and was taken back: what runs is what ran before."""


class InterruptedApplyError(ExecutorError):
    """Apply was asked to end (Ctrl-C, SIGTERM); the state is consistent and the same plan can be applied again."""
