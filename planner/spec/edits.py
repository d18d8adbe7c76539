"""Changes to a declared fleet before it is read: values set, multiplied or left out at a path. The text of the file is never touched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from planner.spec.errors import SpecError
from planner.spec.paths import FieldPath, PathError, joined, resolve
from planner.spec.units import NUMBER_PATTERN
from planner.spec.yaml_tree import MAX_DEPTH, Node, parse

# Of what was not read from a file: errors then name the path alone.
NOWHERE = 0

_AS_IN_A_FILE = "write it as in a fleet file, quoted where it holds ': ' or '#'"
_TIMES = re.compile(rf"\s*x\s*({NUMBER_PATTERN})\s*")
_QUANTITY = re.compile(rf"\s*({NUMBER_PATTERN})\s*(.*)", re.DOTALL)
# Digits of a product beyond which a quantity means nothing.
_PRODUCT_DIGITS = 12


def node_of(value: object, depth: int = 1) -> Node:
    """A value of Python as the file would say it: numbers as their text, true and false, None for no value.

    ValueError for what a fleet file cannot say.

    >>> node_of({"nodes": 3, "sharing": ["exclusive"]}).plain()
    {'nodes': '3', 'sharing': ['exclusive']}
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        children = {str(key): node_of(item, depth + 1) for key, item in value.items()}
        places = dict.fromkeys(children, (NOWHERE, NOWHERE))
        return Node(children, NOWHERE, NOWHERE, 1 + sum(child.size for child in children.values()), places)
    if hasattr(value, "tolist"):
        # arrays and numbers of numpy and pandas
        value = value.tolist()
    if isinstance(value, bool):
        return Node("true" if value else "false", NOWHERE, NOWHERE)
    if value is None or isinstance(value, str):
        return Node(value, NOWHERE, NOWHERE)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        items = tuple(node_of(item, depth + 1) for item in value)
        return Node(items, NOWHERE, NOWHERE, 1 + sum(item.size for item in items))
    if hasattr(value, "__index__"):
        return Node(str(value.__index__()), NOWHERE, NOWHERE)
    if hasattr(value, "__float__"):
        number = value.__float__()
        return Node(format(number, ".12g") if abs(number) < 1e18 else repr(number), NOWHERE, NOWHERE)
    raise ValueError(f"{value!r:.60} is a {type(value).__name__}; a fleet file holds texts, numbers, lists and mappings")


def node_of_text(text: str) -> Node:
    """A value as it is written behind a colon in a fleet file. ValueError when that is not YAML."""
    try:
        root, problems = parse("value", f"value: {text}")
    except SpecError as error:
        raise ValueError(f"{text[:60]!r} is not a value ({error.problems[0].message}); {_AS_IN_A_FILE}") from error
    if problems or not isinstance(root.value, Mapping) or set(root.value) != {"value"}:
        raise ValueError(f"{text[:60]!r} is not a value; {_AS_IN_A_FILE}")
    return node_of(root.value["value"].plain())


def times(value: object) -> Fraction | None:
    """The factor of a relative value ("x1.5"); None of any other value.

    >>> times("x1.5")
    Fraction(3, 2)
    """
    found = _TIMES.fullmatch(value) if isinstance(value, str) else None
    return Fraction(found[1]) if found else None


def value_at(root: Node, steps: FieldPath) -> Node | None:
    """What stands at a place; None where nothing does."""
    node: Node | None = root
    for step in steps:
        if node is None:
            return None
        if isinstance(step, int):
            node = node.value[step] if isinstance(node.value, tuple) and step < len(node.value) else None
        else:
            node = node.value.get(step) if isinstance(node.value, Mapping) else None
    return node


def with_value(root: Node, steps: FieldPath, value: Node | None) -> Node:
    """The tree with another value at a place, which may be new; None leaves the field out."""
    if not steps:
        return root if value is None else value
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        items = list(root.value) if isinstance(root.value, tuple) else []
        items[step : step + 1] = [] if value is None and not rest else [with_value(items[step], rest, value)]
        return Node(tuple(items), root.line, root.column, 1 + sum(item.size for item in items))
    children = dict(root.value) if isinstance(root.value, Mapping) else {}
    places = dict(root.key_places)
    if value is None and (not rest or step not in children):
        children.pop(step, None)
    else:
        child = children.get(step, Node({}, NOWHERE, NOWHERE))
        children[step] = with_value(child, rest, value)
        places.setdefault(step, (NOWHERE, NOWHERE))
    return Node(children, root.line, root.column, 1 + sum(child.size for child in children.values()), places)


def product(text: str, factor: Fraction) -> str:
    """A quantity times a factor, in its unit. ValueError when the text does not begin with a number.

    >>> product("2.50 USD/h", Fraction(11, 10))
    '2.75 USD/h'
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:60]!r} is not a number, so it cannot be multiplied")
    result = Fraction(found[1]) * factor
    number = str(result.numerator) if result.denominator == 1 else format(float(result), f".{_PRODUCT_DIGITS}g")
    if "e" in number:
        number = format(float(result), f".{_PRODUCT_DIGITS}f").rstrip("0").rstrip(".")
    unit = found[2].strip()
    space = " " if unit and text.strip()[len(found[1]) :].startswith(" ") else ""
    return f"{number}{space}{unit}"


def multiplied(root: Node, path: str, factor: Fraction, default: str | None = None) -> Node:
    """The tree with the quantity at a path times a factor; default is what counts where the file says nothing. Raises PathError."""
    steps = resolve(root, path)
    found = value_at(root, steps)
    text = found.value if found is not None and found.value is not None else default
    if text is None:
        raise PathError(f"{path}: the file has no value at {joined(steps)} that could be multiplied; give the value itself")
    if not isinstance(text, str):
        raise PathError(f"{path}: {joined(steps)} is not a number, so it cannot be multiplied; give the value itself")
    try:
        return with_value(root, steps, node_of(product(text, factor)))
    except ValueError as error:
        raise PathError(f"{path}: {error}; give the value itself") from None
