"""Regions by name: which of the providers finds each, and what is missing where none can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from ..edit import Edit
from ..errors import EditError
from ..region import Region
from ..where import NAMES
from .facexlib_parser import FacexlibParser
from .mesh_faces import MeshFaces
from .parsed_faces import ParsedFaces
from .person import PersonNetwork
from .sky import SkyRule
from .u2net import SubjectNetwork

SIDE = 1024  # pixels of the longest side that regions are looked for at


class Provider(Protocol):
    """Finds some of the regions that have a name."""

    names: Sequence[str]

    def missing(self, name: str) -> str:
        """Why it can't find this one here, a sentence that says what to do; nothing where it can. Loads nothing."""

    def masks(self, image: np.ndarray, name: str) -> list[np.ndarray]:
        """image: (h, w, 3) float32 in [0, 1] → a mask, (h, w) in [0, 1], of every region of this name. Raises EditError."""


# Of two that find the same, the first that can.
PROVIDERS: list[Provider] = [SubjectNetwork(), SkyRule(), ParsedFaces(FacexlibParser()), MeshFaces(), PersonNetwork()]


def missing(name: str) -> str:
    """Why no region of this name can be found here, a sentence that says what to do; nothing where it can, and for no such name."""
    reasons = [provider.missing(name) for provider in PROVIDERS if name in provider.names]
    return "" if "" in reasons or not reasons else reasons[-1]  # the last is the one that is the easiest to come by


def regions_named(edit: Edit) -> list[Region]:
    """The regions of the picture that have the name which the edit asks for. Raises EditError where nothing can find them."""
    name = edit.region.name if edit.region else ""
    if name not in NAMES or (reason := missing(name)):
        raise EditError(reason if name in NAMES else f"There is no region “{name}”. Known ones: {', '.join(NAMES)}.")
    provider = next(provider for provider in PROVIDERS if name in provider.names and not provider.missing(name))
    small = edit.image.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    masks = provider.masks(np.asarray(small, np.float32) / 255, name)
    return [Region.of(mask, name).at(edit.image.size) for mask in masks]
