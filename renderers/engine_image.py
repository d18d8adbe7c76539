"""The container image of an engine: a repository that users set, and the tag of a release."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from planner.plan import Replica
from renderers.manifest import RenderError

# Host and port of a registry, if any, then the path; a colon behind the last slash would begin a tag.
IMAGE_PATTERN = r"^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*$"
ImageRepository = Annotated[
    str, Field(pattern=IMAGE_PATTERN, max_length=200, description="an image without a tag; the tag is the engine's version")
]

# vLLM tags its images by release, with a v.
_RELEASE = re.compile(r"v?(\d+\.\d+(?:\.\d+)?(?:\.post\d+)?)(?:\+.*)?")


def image_of(repository: str, replica: Replica) -> str:
    """The image with the tag of the replica's version; RenderError for a version that is no release."""
    release = _RELEASE.fullmatch(replica.engine_version)
    if release is None:
        raise RenderError(
            f"replica {replica.name!r}, engine_version: {replica.engine_version!r} is no release, by which images are tagged; "
            "write one as models.NAME.engine_version and plan again"
        )
    return f"{repository}:v{release[1]}"
