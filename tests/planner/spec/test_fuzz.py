"""Whatever the bytes are, a fleet file is loaded or refused with a SpecError."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.spec import starter
from tests.planner.spec.fleet_files import FLEET, TRACE, problems

FILES = {"t.csv": TRACE}
TRACED = FLEET.replace("{rate: 2/s, input_tokens: 500, output_tokens: {mean: 100, p99: 400}}", "{trace: t.csv, tenant: a, window: 60s}")
PIECES = [
    "", "0", "-1", "1e400", ".nan", ".inf", "null", "~", "''", "[]", "{}", "[[]]", "{a: {}}", "*a", "&a x", "!!int 3", "!!python/name:os",
    "true", "off", "9" * 400, "80GiB", "500ms", "3/s", "2 USD/h", "\t", "\\", '"\\uD800"', '"\\0"', "é", "\u2028", "\ufeff", "---", "...",
    "? ", "- ", ": ", "|", ">", "%", "@", "<<", "chat", "h100", "small", "t.csv", "./x", "/", "..", "config.json", "x" * 300,
]  # fmt: skip
LINE = re.compile(r"fleet\.yaml:[1-9][0-9]*:[1-9][0-9]*: ")
values = st.recursive(
    st.sampled_from(PIECES) | st.text(max_size=8) | st.integers().map(str),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["rate", "trace", "windows", "mean", "p99", "start", "end", "port", "a"]), inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=5,
)


def check(text: str | bytes) -> None:
    for message in problems(text, FILES):
        assert LINE.match(message)
        message.encode()


@given(st.binary(max_size=200))
def test_random_bytes(raw: bytes) -> None:
    check(raw)


@given(st.text(max_size=200))
def test_random_text(text: str) -> None:
    check(text)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([FLEET, TRACED, starter()]), st.data())
def test_values_replaced(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        spots = [match.span() for match in re.finditer(r"(?<=: )[^\s{}\[\],#]+", text)]
        start, end = data.draw(st.sampled_from(spots or [(0, 0)]))
        text = text[:start] + data.draw(values) + text[end:]
    check(text)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([FLEET, TRACED, starter()]), st.data())
def test_lines_and_bytes_mangled(text: str, data: st.DataObject) -> None:
    lines = text.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 4))):
        spot = data.draw(st.integers(0, len(lines) - 1))
        lines[spot : spot + 1] = data.draw(
            st.sampled_from(
                [[], [lines[spot]] * 2, ["  " + lines[spot]], [lines[spot].lstrip()], [data.draw(st.sampled_from(PIECES)) + "\n"]]
            )
        )
        lines = lines or ["\n"]
    raw = bytearray("".join(lines).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, max(0, len(raw) - 1)))] = data.draw(st.integers(0, 255))
    check(bytes(raw))
