"""The one jinja2 environment of all targets; values of a plan reach a file only through one of its filters."""

from __future__ import annotations

import json
import shlex
from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from renderers.manifest import RenderError


def template(target: str, name: str) -> Template:
    """The template `renderers/TARGET/templates/NAME`."""
    return _environment().get_template(f"{target}/templates/{name}")


def package_text(path: str) -> str:
    """Text of a file that ships inside the package, path relative to it."""
    return resources.files("renderers").joinpath(path).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    # Autoescape is for HTML; here the filters below quote for the language at hand, and a missing value is an error.
    environment = Environment(  # noqa: S701
        loader=FunctionLoader(package_text), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["scalar"] = scalar
    environment.filters["sh"] = shell_word
    environment.filters["comment"] = comment
    environment.filters["unit_word"] = unit_word
    environment.filters["unit_text"] = unit_text
    return environment


def scalar(value: str | float | bool) -> str:
    """A value as a JSON scalar, which is a YAML scalar too: text in quotes, what cannot be printed escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # Beyond \uFFFF JSON escapes by pairs, which YAML would read as two characters; YAML takes those characters as they are.
    return "".join(c if c.isprintable() or ord(c) > 0xFFFF else f"\\u{ord(c):04x}" for c in text)


def shell_word(value: str) -> str:
    """A value as one word of a POSIX shell."""
    if "\0" in value:
        raise RenderError(f"{value!r} contains a NUL byte, which no shell word can hold; choose another value")
    return shlex.quote(value)


def unit_word(value: str) -> str:
    """A value as one word of a command line in a systemd unit (systemd.service(5), systemd.syntax(7))."""
    return f'"{"".join(_unit_character(character) for character in value)}"'.replace("%", "%%").replace("$", "$$")


def _unit_character(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    if character == "\0":
        raise RenderError("a value contains a NUL byte, which no command line can hold; choose another value")
    return character if character.isprintable() else "".join(f"\\x{byte:02x}" for byte in character.encode())


def unit_text(value: str) -> str:
    """A value that stands behind = in a systemd unit and is no command: one line without specifiers."""
    return comment(value).replace("%", "%%").rstrip("\\")


def comment(value: str) -> str:
    """A value inside a comment line: whatever could end the line or drive a terminal becomes a question mark."""
    return "".join(character if character.isprintable() else "?" for character in value)
