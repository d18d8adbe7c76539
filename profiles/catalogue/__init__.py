"""The catalogue: one YAML file per GPU type (gpus/) and per model (models/), looked up by name or alias, letter case aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Generic, TypeVar

from profiles.catalogue.ambiguity import NOT_LISTED, other_cards
from profiles.catalogue.decode import decode_gpu, decode_model
from profiles.catalogue.variants import base_and_format, variant
from profiles.checkpoints.hf_config import architecture_from_path
from profiles.fields import FieldError, Fields
from profiles.gpu_types import GpuType
from profiles.models import Architecture
from profiles.yaml_text import YamlTextError, plain_yaml

__all__ = ["Catalogue", "UnknownNameError", "architecture_from_path", "builtin"]

Entry = TypeVar("Entry", bound=GpuType | Architecture)


class UnknownNameError(ValueError):
    """A GPU type or model the catalogue does not have; the message has the nearest spellings."""


def _key(name: str) -> str:
    return name.casefold().replace("_", "-").replace(" ", "-")


def _spellings(entry: GpuType | Architecture) -> Iterator[str]:
    """Name, aliases, and of each that carries an organisation the part behind it."""
    for name in (entry.name, *entry.aliases):
        yield name
        if "/" in name:
            yield name.rpartition("/")[2]


class _Folder(Generic[Entry]):
    """The entries of one folder. A look-up reads the texts and parses only the files in which the name occurs."""

    def __init__(self, root: Path, kind: str, decode: Callable[[Fields], Entry]) -> None:
        self._root = root
        self._kind = kind
        self._decode = decode
        self._parsed: dict[str, Entry] = {}

    @cached_property
    def _texts(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(self._root.glob("*.yaml"))}

    @cached_property
    def _keys(self) -> dict[str, str]:
        return {file: _key(text) for file, text in self._texts.items()}

    def _entry(self, file: str) -> Entry:
        if file not in self._parsed:
            try:
                content = plain_yaml(self._texts[file])
            except YamlTextError as error:
                raise FieldError(f"{self._root / file}: {error}") from None
            if not isinstance(content, dict):
                raise FieldError(f"{self._root / file}: must be a mapping")
            self._parsed[file] = self._decode(Fields(str(self._root / file), content))
        return self._parsed[file]

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entry(file) for file in self._texts)

    def find(self, name: str) -> Entry:
        wanted = _key(name)
        for file, text in self._keys.items():
            if wanted in text and any(_key(spelling) == wanted for spelling in _spellings(self._entry(file))):
                return self._entry(file)
        raise UnknownNameError(self._unknown(name, wanted))

    def _unknown(self, name: str, wanted: str) -> str:
        spelled = {_key(spelling): spelling for entry in self.entries() for spelling in _spellings(entry)}
        near = get_close_matches(wanted, sorted(spelled), n=3)
        hint = f"nearest: {', '.join(spelled[key] for key in near)}" if near else f"none of the {len(self._texts)} known ones is similar"
        return f"unknown {self._kind} {name!r}; {hint}"


class Catalogue:
    """GPU types and models of a folder with the sub-folders gpus/ and models/."""

    def __init__(self, root: Path) -> None:
        """Nothing is read before the first look-up."""
        self._gpus = _Folder(root / "gpus", "GPU type", decode_gpu)
        self._models = _Folder(root / "models", "model", decode_model)

    def gpu(self, name: str) -> GpuType:
        """The GPU type of that name or alias; UnknownNameError otherwise."""
        return self._gpus.find(name)

    def gpu_ambiguity(self, name: str) -> str | None:
        """A sentence where a name stands for several cards: which one is taken, and how the others are called."""
        taken, key = self.gpu(name), _key(name)
        if key == _key(taken.name):
            return None
        gpus = self.gpus()
        spelled = {gpu.name: tuple(map(_key, _spellings(gpu))) for gpu in gpus}
        others = other_cards(key, taken, gpus, spelled)
        unlisted = NOT_LISTED.get(key, ())
        if not others and not unlisted:
            return None
        text = f"{name} is the name of several cards; taken for {taken.name} ({taken.memory_usable_mib / 1024:.1f} GiB, "
        text += f"{taken.memory_bandwidth_gb_per_s:g} GB/s), write that to be sure"
        text += f"; the others are called {', '.join(others)}" if others else ""
        return text + (f"; the catalogue does not have {', '.join(unlisted)}" if unlisted else "")

    def model(self, name: str) -> Architecture:
        """The model of that Hugging Face id, alias or id without its organisation; UnknownNameError otherwise.

        An id that ends in a weight format is the checkpoint in that format of a model that is here, and one that differs in the
        organisation only is a copy of it.
        """
        try:
            return self._models.find(name)
        except UnknownNameError:
            found = self._variant(name) or self._copy(name)
            if found is None:
                raise
            return found

    def _copy(self, name: str) -> Architecture | None:
        """A model that another organisation publishes under its name; None when the name does not say one, or misspells the model's own."""
        organisation, _, checkpoint = name.partition("/")
        if not organisation or not checkpoint:
            return None
        try:
            model = self._models.find(checkpoint)
        except UnknownNameError:
            return None
        own = [spelling.partition("/")[0].casefold() for spelling in (model.name, *model.aliases) if "/" in spelling]
        if get_close_matches(organisation.casefold(), own):
            return None
        return replace(model, name=name, aliases=(), source=f"{model.source}; taken for a copy by its name")

    def _variant(self, name: str) -> Architecture | None:
        """The quantised checkpoint of a plain model, None when the name does not say one."""
        found = base_and_format(name)
        if found is None:
            return None
        try:
            model = self._models.find(found[0])
        except UnknownNameError:
            return None
        return variant(model, name, found[1])

    def model_id(self, name: str) -> str:
        """The Hugging Face id an engine can load for this name: the one written, in its proper spelling, or the model's own."""
        model = self.model(name)
        wanted = _key(name)
        for spelling in (model.name, *model.aliases):
            if "/" in spelling and wanted in (_key(spelling), _key(spelling.rpartition("/")[2])):
                return spelling
        return model.name

    def gpus(self) -> tuple[GpuType, ...]:
        """All GPU types, in the order of their files."""
        return self._gpus.entries()

    def models(self) -> tuple[Architecture, ...]:
        """All models, in the order of their files."""
        return self._models.entries()

    @cached_property
    def gpu_names(self) -> tuple[str, ...]:
        """Names of all GPU types, sorted."""
        return tuple(sorted(gpu.name for gpu in self._gpus.entries()))

    @cached_property
    def model_names(self) -> tuple[str, ...]:
        """Names of all models, sorted."""
        return tuple(sorted(model.name for model in self._models.entries()))


@cache
def builtin() -> Catalogue:
    """The catalogue that ships with the package."""
    return Catalogue(Path(__file__).parent)
