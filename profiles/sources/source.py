"""What an importer is, what it is told beside the file, and how it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from profiles.fields import FieldError
from profiles.store.measurements import Measurements


class SourceError(FieldError):
    """A file that cannot be imported; the message names file and field, and says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the user says about a file; None is not said.

    model and gpu replace what the file says (which is often a served name or a marketing name). Everything else fills in what the file does
    not say, and contradicting the file is an error. date is that of the measurement, YYYY-MM-DD. engine_version is the engine's.
    """

    model: str | None = None
    gpu: str | None = None
    mig_profile: str | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    concurrency: int | None = None
    date: str | None = None
    engine_version: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A file's name, its text, and what the text is as JSON: None when it is none."""

    name: str
    text: str
    json: object


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of file. about is one line for people; recognises must be cheap and never raise; parse raises SourceError."""

    about: str
    recognises: Callable[[Opened], bool]
    parse: Callable[[str, bytes, Context], Measurements]
