"""An exit code that is an answer and not an error."""


class ExitCode(Exception):  # noqa: N818 -- not an error: it carries the exit code a command answers with
    """Ends a command with this exit code."""

    def __init__(self, code: int) -> None:
        """Code: the exit code."""
        super().__init__(code)
        self.code = code
