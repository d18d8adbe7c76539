"""What is wrong with a fleet file: every problem with its place, all at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class SpecProblem:
    """One problem: file, line and column (from 1; 0: it stands in no file), path of the field (empty for the whole file), what to do."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """One line: file:line:column: path: message; without a line of what was set after reading."""
        text = f"{self.path}: {self.message}" if self.path else self.message
        # names come from the file: line breaks and terminal codes in them must not reach the screen
        printable = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.file}{place}: {printable}"


class SpecError(ValueError):
    """A fleet file that cannot be used. problems are sorted by place; str() has one line for each."""

    def __init__(self, problems: tuple[SpecProblem, ...]) -> None:
        """Keep the problems sorted, each once."""
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


class RefusedDemandError(ValueError):
    """A demand that cannot be used, with the place inside the workload's demand."""

    def __init__(self, loc: tuple[str | int, ...], message: str) -> None:
        """loc is the place, message what is wrong there."""
        super().__init__(message)
        self.loc = loc
