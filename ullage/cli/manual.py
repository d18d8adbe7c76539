"""The manual of the command line, docs/cli.md, written from the commands themselves: `python -m ullage.cli.manual docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

_HEAD = """# Command line

Every command with its options, as its `--help` prints them. This page is written from the commands by
`python -m ullage.cli.manual docs/cli.md`. The documents linked in the [README](../README.md) explain what they do.
The option `--install-completion` makes your shell complete commands, options and their values.
[Exit codes](plan.md#exit-codes) are the same for all commands.
"""


def manual() -> str:
    """The manual as Markdown: one section for each command, in the order of `ullage --help`."""
    from ullage.cli.main import app

    sections = [_section(words, command) for words, command in _commands("ullage", get_command(app))]
    return "\n".join([_HEAD, *sections])


def _commands(words: str, command: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 -- typer's own classes are private
    for name, each in getattr(command, "commands", {}).items():
        if each.hidden:
            continue
        if getattr(each, "commands", None):
            yield from _commands(f"{words} {name}", each)
        else:
            yield f"{words} {name}", each


def _section(words: str, command: Any) -> str:  # noqa: ANN401 -- as above
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    arguments = [_argument(parameter) for parameter in shown if parameter.param_type_name == "argument"]
    usage = " ".join([words, *(["[OPTIONS]"] if any(parameter.param_type_name == "option" for parameter in shown) else []), *arguments])
    lines = [f"## {words}", "", "```text", usage, "```", "", _plain(command.help or ""), ""]
    if shown:
        lines += ["| argument or option | meaning |", "|---|---|", *(_row(parameter) for parameter in shown), ""]
    return "\n".join(lines)


def _argument(parameter: Any) -> str:  # noqa: ANN401 -- as above
    name = parameter.metavar or parameter.name.upper()
    many = "..." if parameter.nargs == -1 else ""
    return f"{name}{many}" if parameter.required else f"[{name}{many}]"


def _row(parameter: Any) -> str:  # noqa: ANN401 -- as above
    if parameter.param_type_name == "argument":
        spelled = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        spelled = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    return f"| {spelled} | {_plain(parameter.help or '').replace('|', chr(92) + '|')} |"


def _plain(text: str) -> str:
    return " ".join(text.split()) if "\n\n" not in text else "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(manual(), encoding="utf-8")
