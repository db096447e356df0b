"""What finds regions in the host: by name with the networks that it has, or that are fetched on first use; by the instruction with the loaded one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from modules import shared

from ..acting import acting_region
from ..edit import Edit
from ..located import Finder
from ..region import Region
from ..segmentation import PLACES, regions_named
from ..where import INSTRUCTION, NAME
from .asking import asks
from .folder import KEPT


def telling(what: Callable[[Edit], str], finder: Finder) -> Finder:
    """The finder, while which works the page is told what is looked for."""

    def find(edit: Edit) -> Sequence[Region]:
        shared.state.textinfo = f"Looking {what(edit)}"
        try:
            return finder(edit)
        finally:
            shared.state.textinfo = None

    return find


def downloading(done: int, total: int) -> None:
    shared.state.textinfo = f"Fetching a network that finds regions: {done / 1e6:.0f} of {total / 1e6:.0f} MB"


def name_places() -> None:
    """Tells where the host keeps the weights of its own face restoration, and where others are fetched to."""
    PLACES.kept = KEPT / "weights"
    PLACES.others = (Path(shared.cmd_opts.gfpgan_models_path), Path(shared.cmd_opts.codeformer_models_path))
    PLACES.progress = downloading


FINDERS: dict[str, Finder] = {
    NAME: telling(lambda edit: f"for the {edit.region.name}", regions_named),
    INSTRUCTION: telling(lambda edit: "where the instruction acts", lambda edit: acting_region(edit, asks(edit))),
}
