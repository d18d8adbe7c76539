"""What every source in the table of parts has to do: recognise its own files, and refuse every bad one with file and field."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator

import pytest

from profiles.sources.reading import opened
from profiles.sources.source import Source, SourceError
from profiles.store.measurements import Measurements
from tests.profiles.sources.samples import SAMPLES, Sample, sample
from ullage.plugins import SOURCES
from ullage.profiling.imports import kind_of

JSON_KINDS = [kind for kind in SAMPLES if kind not in {"vllm-metrics", "vllm-log", "aiconfigurator", "csv"}]
ODD: tuple[object, ...] = (None, "", "x", -1, 0, True, [], {}, [None], float("nan"), float("inf"), 1e308, -0.0, "9" * 5000, "\ud83d", [[1]])
NUMBER = re.compile(rb"(?<=[:\[, ])-?\d+(?:\.\d+)?(?:e-?\d+)?(?=[,\]} \n])")


@pytest.fixture(params=sorted(SOURCES))
def one(request: pytest.FixtureRequest) -> Sample:
    return sample(str(request.param))


def plain(one: Sample) -> bytes:
    return gzip.decompress(one.raw) if one.name.endswith(".gz") else one.raw


def refused(one: Sample, raw: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        one.parse(raw)
    text = str(caught.value)
    assert text.startswith(one.name)
    return text


def complaint(one: Sample, raw: bytes) -> str | None:
    """What the source says about the bytes; None when it imports them."""
    try:
        assert isinstance(one.parse(raw), Measurements)
    except SourceError as error:
        return str(error)
    return None


def test_every_source_has_a_sample() -> None:
    assert set(SAMPLES) == set(SOURCES)


def test_source_says_what_it_is(one: Sample) -> None:
    assert isinstance(one.source, Source)
    assert one.source.about


def test_own_file_is_recognised_by_its_source_first(one: Sample) -> None:
    assert one.source.recognises(opened(one.name, one.raw))
    assert kind_of(one.name, one.raw) == one.kind


def test_same_bytes_give_the_same_points(one: Sample) -> None:
    found = one.parse()
    assert found
    assert found == one.parse()


def test_compressed_and_plain_are_the_same(one: Sample) -> None:
    assert one.parse(plain(one)) == one.parse(gzip.compress(plain(one), mtime=0))


def test_byte_order_mark_does_no_harm(one: Sample) -> None:
    assert one.parse(b"\xef\xbb\xbf" + plain(one)) == one.parse()


@pytest.mark.parametrize("raw", [b"", b"  \n\n", gzip.compress(b"", mtime=0)], ids=["nothing", "white space", "gzip of nothing"])
def test_empty_file_is_refused(one: Sample, raw: bytes) -> None:
    assert "empty" in refused(one, raw)


def test_text_that_is_not_utf8_is_refused(one: Sample) -> None:
    assert "UTF-8" in refused(one, b"\xff\xfe" + plain(one))


def test_damaged_gzip_is_refused(one: Sample) -> None:
    assert "gzip" in refused(one, gzip.compress(plain(one), mtime=0)[:-12])


def test_a_file_of_another_kind_is_refused(one: Sample) -> None:
    refused(one, b"# A heading\n\nand a paragraph\n")
    refused(one, b'{"hello": "world"}')


@pytest.mark.parametrize("kind", JSON_KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_json_is_refused(kind: str, share: float) -> None:
    one = sample(kind)
    text = plain(one).rstrip()
    assert "not JSON, or cut off" in refused(one, text[: int(len(text) * share)])


@pytest.mark.parametrize("kind", JSON_KINDS)
def test_json_of_the_wrong_shape_is_refused(kind: str) -> None:
    one = sample(kind)
    for raw in (b"[]", b"3", b"null", b'"text"', b"[1]", b"[[]]", b"[" * 100_000, b'{"a": ' * 30_000):
        refused(one, raw)


@pytest.mark.parametrize("kind", JSON_KINDS)
def test_no_missing_key_and_no_strange_value_gives_another_error(kind: str) -> None:
    """Take each key away, or set it to something odd: the file still imports, or the source says what is wrong with it."""
    one = sample(kind)
    content = json.loads(plain(one))
    for changed in changes(content):
        raw = json.dumps(changed).encode()
        one.source.recognises(opened(one.name, raw))
        assert (complaint(one, raw) or one.name).startswith(one.name)


def changes(content: dict[str, object]) -> Iterator[dict[str, object]]:
    for key in content:
        yield {name: value for name, value in content.items() if name != key}
        for odd in ODD:
            yield {**content, key: odd}


@pytest.mark.parametrize("kind", ["vllm-bench-serve", "vllm-bench-throughput", "vllm-bench-latency", "guidellm", "inferno", "melange"])
@pytest.mark.parametrize("bad", [b"NaN", b"-1", b"Infinity", b"1e400"])
def test_no_number_may_be_nan_negative_or_infinite_where_it_is_read(kind: str, bad: bytes) -> None:
    one = sample(kind)
    text = plain(one)
    places = list(NUMBER.finditer(text))[:60]
    said = [complaint(one, text[: place.start()] + bad + text[place.end() :]) for place in places]
    assert all(line is None or line.startswith(one.name) for line in said)
    # guidellm's report begins with settings that nothing is read from
    assert any(said) or kind == "guidellm"
