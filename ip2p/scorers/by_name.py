"""Scorers by the name that `--scorer` takes, of pictures and texts and of pairs: CLIP where its weights are, else stand-ins that say what they can't see."""

from __future__ import annotations

import torch

from ..checkpoints.clip import HUB as CLIP_HUB
from ..errors import EditError
from .clip_scorer import Clip
from .conse import Conse, packages_installed
from .dino import HUB as DINO_HUB
from .dino import Dino
from .efficientnet import EfficientNet
from .judge import Judge, Judging
from .open_clip_scorer import OpenClip
from .pair_scorer import PairScorer
from .scorer import Scorer
from .similarities import Similarities
from .structure import Edges, Ssim

KINDS = ("auto", "clip", "open_clip", "dino", "conse", "efficientnet", "none")
KNOWN = "auto, clip, clip=FOLDER, open_clip=MODEL/WEIGHTS, dino=FOLDER, conse, efficientnet, none"


def device_named(name: str | None) -> torch.device:
    """name: as cuda, cuda:1 or cpu; None for CUDA where there is one. Raises EditError where there is no such device."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as e:
        raise EditError(f"There is no device “{name[:80]}” here: choose cuda or cpu.") from e


def scorer_named(name: str, device: torch.device) -> Scorer | None:
    """name: clip, clip=FOLDER or name on the hub, open_clip=MODEL/WEIGHTS, dino, dino=FOLDER, conse, efficientnet, none, or auto: CLIP
    where its weights are in the hub's cache, else the best stand-in whose packages are there. Raises EditError and ImportError."""
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
    if kind == "dino":
        return Dino(place or DINO_HUB, device)
    raise EditError(f"There is no scorer “{name[:80]}”. Known ones: {KNOWN}.")


def pair_scorer_named(name: str, device: torch.device, judging: Judging) -> PairScorer | None:
    """name: as above, or edges, ssim, or judge=MODEL, a name behind the endpoint of `judging`. Raises EditError and ImportError."""
    kind, _, model = name.partition("=")
    if kind == "edges":
        return Edges()
    if kind == "ssim":
        return Ssim()
    if kind == "judge":
        return Judge(model, judging)
    if kind not in KINDS:
        raise EditError(f"There is no scorer “{name[:80]}”. Known ones: {KNOWN}, edges, ssim, judge=MODEL.")
    scorer = scorer_named(name, device)
    return None if scorer is None else Similarities(scorer)


def best_available(device: torch.device) -> Scorer:
    """Raises ImportError where not even a stand-in's packages are there."""
    try:
        return Clip(CLIP_HUB, device, cached_only=True)
    except EditError:
        return Conse(device) if packages_installed() else EfficientNet(device)
