"""What can go wrong while making reality equal to a plan; messages say what, where and what to do."""

from __future__ import annotations


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

    Cause is a class of executor.backends.start_failures.CAUSES or `timeout`, `exited`, `port`, `device`, `foreign`, `api_key`.
    """

    def __init__(self, replica: str, cause: str, message: str) -> None:
        """Replica: its name; message: what happened, with the tail of the log."""
        super().__init__(f"replica {replica}: {message}")
        self.replica = replica
        self.cause = cause


class InterruptedApplyError(ExecutorError):
    """Apply was asked to end (Ctrl-C, SIGTERM); the state is consistent and the same plan can be applied again."""
