"""The one reader of YAML that this program writes or ships: plain mappings, lists and scalars.

Fleet files, which people write, have a reader of their own (planner.spec.yaml_tree) that knows lines and allows aliases within a limit.
"""

from __future__ import annotations

from typing import Any

import yaml

# libyaml's loader is ten times faster and not in every build of PyYAML; both are safe loaders.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# No such file is nested deeper than a point in a list of a section.
_MOST_LEVELS = 32


class YamlTextError(ValueError):
    """A text that is no YAML of this kind; the message says why, and where the parser knows."""


def plain_yaml(text: str) -> object:
    """The value of a YAML document without anchors, aliases and tags; YamlTextError for any other text."""
    try:
        _refuse_tricks(text)
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 (both are safe loaders)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        if isinstance(error, YamlTextError):
            raise
        raise YamlTextError(f"not YAML: {' '.join(str(error).split())}") from None


def _refuse_tricks(text: str) -> None:
    """Looks at the events, which come one by one: nothing is expanded before it is known to be plain."""
    level = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            level += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            level -= 1
        strange = _strange(event)
        if strange or level > _MOST_LEVELS:
            place = f"line {event.start_mark.line + 1}: " if event.start_mark else ""
            raise YamlTextError(f"{place}{strange or f'nested more than {_MOST_LEVELS} levels deep'}, which no file of this kind has")


def _strange(event: Any) -> str:  # noqa: ANN401 - PyYAML's events are untyped
    if isinstance(event, yaml.AliasEvent):
        return "an alias (*)"
    if getattr(event, "anchor", None):
        return f"an anchor (&{event.anchor})"
    tag = getattr(event, "tag", None)
    return f"a tag ({tag})" if tag not in (None, "!") else ""
