"""Scorers by the name that `--scorer` takes: CLIP where its weights are, else stand-ins that say what they can't see."""

from __future__ import annotations

import torch

from ..checkpoints.clip import HUB as CLIP_HUB
from ..errors import EditError
from .clip_scorer import Clip
from .conse import Conse, packages_installed
from .efficientnet import EfficientNet
from .open_clip_scorer import OpenClip
from .scorer import Scorer


def scorer_named(name: str, device: torch.device) -> Scorer | None:
    """name: clip, clip=FOLDER or name on the hub, open_clip=MODEL/WEIGHTS, conse, efficientnet, none, or auto: CLIP where its
    weights are in the hub's cache, else the best stand-in whose packages are there. Raises EditError and ImportError."""
    kind, _, place = name.partition("=")
    if kind == "auto":
        return best_available(device)
    if kind == "none":
        return None
    if kind == "clip":
        return Clip(place or CLIP_HUB, device)
    if kind == "open_clip":
        return OpenClip(place, device)
    if kind == "conse":
        return Conse(device)
    if kind == "efficientnet":
        return EfficientNet(device)
    raise EditError(
        f"There is no scorer “{name[:80]}”. Known ones: auto, clip, clip=FOLDER, open_clip=MODEL/WEIGHTS, conse, efficientnet, none."
    )


def best_available(device: torch.device) -> Scorer:
    """Raises ImportError where not even a stand-in's packages are there."""
    try:
        return Clip(CLIP_HUB, device, cached_only=True)
    except EditError:
        return Conse(device) if packages_installed() else EfficientNet(device)
