"""The options of `edit` that say where it may act."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import EditError
from ..presets import Preset
from ..segmentation import missing
from ..where import INSTRUCTION, MARGIN, MASK, NAME, NAMES, Where

EVERYWHERE = "everywhere"
SHAPING = ("number", "threshold", "feather", "grow", "invert", "only_region", "margin", "scoped", "keep_colour")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--region",
        metavar="FILE|NAME",
        help=f"where the edit may act: a mask as for --mask, “{INSTRUCTION}”, where the instruction acts, or a name: {', '.join(NAMES)}; {EVERYWHERE} (default: a preset's own, else {EVERYWHERE})",
    )
    add("--number", type=int, metavar="N", help="which one of several regions, counted from left to right (default: all of them)")
    add("--threshold", type=float, metavar="0–1", help="from which level on something belongs to the region (default: what suits it)")
    add(
        "--feather",
        type=float,
        metavar="PIXELS",
        help="over how many pixels the edit fades in, inside the region (default: what suits its size)",
    )
    add(
        "--grow", type=float, metavar="PIXELS", help="let the region reach farther by so many pixels, or with a minus less far (default: 0)"
    )
    add("--invert", action="store_true", help="edit everything but the region (default: off)")
    add(
        "--only-region",
        action="store_true",
        help="cut the region out, edit it at the model's own size and put it back, several one after another (default: off)",
    )
    add(
        "--margin",
        type=float,
        metavar="SHARE",
        help=f"with --only-region, how much of the surroundings is cut out with it, as a share of its longer side (default: {MARGIN})",
    )
    add(
        "--scoped",
        action="store_true",
        help="scale the guidance down outside the region, in place of holding the picture there to the photograph in every step (default: off)",
    )
    add(
        "--keep-colour",
        type=float,
        metavar="0–1",
        help="how much of the photograph's colour, without its detail, stays within the region (default: 0)",
    )


def where_of(args: argparse.Namespace) -> tuple[Where | None, Path | None]:
    """Where the edit may act, and the file of the mask. Raises EditError for options that do not go together."""
    shaping = {name: getattr(args, name) for name in SHAPING if getattr(args, name) not in (None, False)}
    if args.region is not None and args.mask is not None:
        raise EditError("--region and --mask both say where the edit may act: leave one of them out.")
    if args.region in (None, EVERYWHERE) and args.mask is None:
        if shaping:
            raise EditError(f"--{next(iter(shaping)).replace('_', '-')} is of a region: name one by --region, or give a --mask.")
        return None, None
    if "margin" in shaping and "only_region" not in shaping:
        raise EditError("--margin is of what --only-region cuts out: leave it out, or add --only-region.")
    shaping["only"] = shaping.pop("only_region", False)
    if args.region == INSTRUCTION:
        return Where(INSTRUCTION, **shaping), None
    if args.region in NAMES:
        return Where(NAME, args.region, **shaping), None
    mask = args.mask or Path(args.region)
    if args.region is not None and not mask.exists():
        raise EditError(f"“{args.region[:80]}” is no file and no name of a region. Names: {INSTRUCTION}, {', '.join(NAMES)}.")
    plain = args.region is None and not any(shaping.values())
    return None if plain else Where(MASK, **shaping), mask


def of_preset(preset: Preset) -> Where | None:
    """Where a preset's edit acts; None, with a line that says so, where its region can't be found here."""
    if reason := missing(preset.region):
        print(f"The whole picture is edited, not the {preset.region} alone. {reason}", file=sys.stderr)
        return None
    return preset.where
