"""Words of `vllm serve` as somebody wrote them: read with the option table of a version, never executed.

Secrets (API keys, tokens) are dropped as the words are read: what is kept may be printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from planner.plan.extra_args import SECRET
from profiles.engine_versions import KNOWN_FLAGS
from renderers.vllm.option_table import Option, table_for

SECRET_WORD = "(secret)"  # noqa: S105 - what stands in the place of one
_MODULES = frozenset({"vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main"})
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")
# python3.12, pypy3
_INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*")
# of Python: these take the next word
_WITH_VALUE = frozenset({"-X", "-W", "--check-hash-based-pycs"})
# vllm.utils' human_readable_int: lower case decimal, upper case binary
_SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True)
class ServeFlag:
    """One flag by its long name without dashes; values is empty for one that takes none, where on says which way it was set."""

    name: str
    values: tuple[str, ...]
    on: bool = True

    @property
    def words(self) -> str:
        """The flag as it would be written."""
        return " ".join((f"--{'' if self.on else 'no-'}{self.name}", *self.values))


@dataclass(frozen=True, slots=True)
class ServeCommand:
    """What a server was told: the model (None: not said), its flags in order, and flags that the option table does not have."""

    model: str | None
    flags: tuple[ServeFlag, ...]
    not_understood: tuple[str, ...] = ()

    def value(self, name: str) -> str | None:
        """The last value of a flag, as it counts; None where it was not given."""
        found = [flag for flag in self.flags if flag.name == name and flag.values]
        return found[-1].values[-1] if found else None

    def number(self, name: str) -> int | None:
        """A flag's whole number, with vLLM's suffixes; None where it was not given or is none."""
        return whole_number(self.value(name))

    def switched(self, name: str) -> bool:
        """Whether a flag without value is on; off where it was not given."""
        return next((flag.on for flag in reversed(self.flags) if flag.name == name and not flag.values), False)

    def served_names(self) -> tuple[str, ...]:
        """The names that clients may use: the given ones, else the model's."""
        given = next((flag.values for flag in reversed(self.flags) if flag.name == "served-model-name"), ())
        return given or ((self.model,) if self.model else ())

    @property
    def port(self) -> int:
        """Where it listens: vLLM's default where nothing is said, 0 where that is no number."""
        return 8000 if self.value("port") is None else self.number("port") or 0

    @property
    def host(self) -> str:
        """The address it listens on; vLLM's default is every interface."""
        return self.value("host") or "0.0.0.0"  # noqa: S104 - vLLM's own default


def whole_number(text: str | None) -> int | None:
    """A whole number with vLLM's suffixes.

    >>> whole_number("2K"), whole_number("25.6k"), whole_number("auto")
    (2048, 25600, None)
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([kmgtKMGT]?)", (text or "").strip())
    if found is None or ("." in found[1] and not found[2]):
        return None
    return int(float(found[1]) * _SUFFIXES[found[2]]) if found[2] else int(found[1])


def arguments_of(argv: Sequence[str]) -> tuple[str, ...] | None:
    """The arguments after `vllm serve`, or after the module of the API server, of a process; None when it is another program."""
    words = list(argv)
    if words and _INTERPRETER.fullmatch(PurePath(words[0]).name):
        words = words[1:]
        while words and words[0].startswith("-") and words[0] != "-m":
            words = words[2:] if words[0] in _WITH_VALUE else words[1:]
    if len(words) > 1 and words[0] == "-m":
        return _after_module(words[1], words[2:])
    if len(words) > 1 and PurePath(words[0]).name == "vllm" and words[1] == "serve":
        return tuple(words[2:])
    return None


def _after_module(module: str, words: Sequence[str]) -> tuple[str, ...] | None:
    if module not in _MODULES:
        return None
    if module.endswith("api_server"):
        return tuple(words)
    return tuple(words[1:]) if words and words[0] == "serve" else None


def arguments_within(words: Sequence[str]) -> tuple[str, ...] | None:
    """As arguments_of, wherever in a command line it begins (behind env, nice, uv run and the like); None when it is nowhere."""
    return next((found for place in range(len(words)) if (found := arguments_of(words[place:])) is not None), None)


def read_arguments(arguments: Sequence[str], version: str = KNOWN_FLAGS) -> ServeCommand:
    """The arguments of `vllm serve`, read as vLLM's parser reads them; never raises: what it does not know is listed."""
    options = table_for(version).table.options
    words = list(arguments)
    flags: list[ServeFlag] = []
    strange: list[str] = []
    model: str | None = None
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            if model is None:
                model = word
            else:
                strange.append(_shown(word))
            continue
        spelled, equals, value = word.partition("=")
        spelled = "--" + spelled[2:].replace("_", "-") if spelled.startswith("--") else spelled
        option = options.get(spelled)
        values = ((value,) if equals else ()) if option is not None and option.nargs == 0 else tuple(_values(option, equals, value, words))
        if option is None:
            # its values may be a secret
            strange.append(_shown(spelled))
        else:
            flags.append(_flag(option, values))
    named = next((flag.values[0] for flag in reversed(flags) if flag.name == "model" and flag.values), None)
    return ServeCommand(_shown(model or named or "") or None, tuple(flags), tuple(strange))


def _values(option: Option | None, equals: str, value: str, words: list[str]) -> Iterator[str]:
    """The values of a flag, taken from the words that follow where they do not stand behind an equals sign."""
    if equals:
        yield value
        return
    many = option is not None and option.nargs == "+"
    while words and not _is_flag(words[0]):
        yield words.pop(0)
        if not many:
            return


def _is_flag(word: str) -> bool:
    # argparse: a negative number is a value
    return word.startswith("-") and not re.fullmatch(r"-|-\d+(?:\.\d*)?", word)


def _flag(option: Option, values: tuple[str, ...]) -> ServeFlag:
    if option.name in SECRET:
        return ServeFlag(option.name, (SECRET_WORD,))
    return ServeFlag(option.name, tuple(map(_shown, values)), on=not (option.nargs == 0 and option.flag == f"--no-{option.name}"))


def _shown(text: str) -> str:
    return _TOKEN.sub(SECRET_WORD, text)
