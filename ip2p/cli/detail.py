"""python -m ip2p detail: a result that was made elsewhere, brought to its photograph's own size with the photograph's own detail."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from ..checkpoints.packaged import CHOICES, SMALL
from ..detail import check, transfer
from ..errors import EditError, printable
from ..files import check_place, refuse_existing
from ..images import MAX_SIDE, Frame, exif_to_keep, infotext_in, read_image, save_picture
from ..images.write import format_of
from ..progress import bar

NONE = "none"
MIN_SIDE = 8  # of a result, in pixels: one latent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("photo", type=Path, metavar="PHOTO", help="the photograph that was edited")
    add("result", type=Path, metavar="RESULT", help="what was made of it, of any size: the whole of it, with nothing cropped")
    add("--output", type=Path, required=True, metavar="FULL", help="the .png, .jpg or .webp file to write")
    add(
        "--model",
        default=SMALL.name,
        help=f"the model that made RESULT: {CHOICES}. Its autoencoder shows what it loses of the photograph, and that much is not "
        f"taken for a part of the edit. For a result of another program name its model, or one with the same autoencoder (any Stable "
        f"Diffusion 1.x for its relatives); {NONE}, where no autoencoder made it, as of a filter. With another one there is less detail "
        f"and more of the result's softness (default: {SMALL.name})",
    )
    add("--strength", type=float, default=1.0, metavar="0–1", help="how much detail to carry over; 0 only enlarges (default: 1)")
    add("--no-metadata", action="store_true", help="leave the photograph's date, place and camera out (default: they are kept)")
    add("--force", action="store_true", help="overwrite an output that exists already (default: off)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    format_of(args.output)
    check_place(args.output)
    refuse_existing(args.output, args.force, sources=[args.photo, args.result])
    photograph, result = read_image(args.photo, "photograph"), read_image(args.result, "result")
    if max(result.size) > MAX_SIDE or min(result.size) < MIN_SIDE:
        raise EditError("The result is {}x{}: its sides must be between {} and {} pixels.".format(*result.size, MIN_SIDE, MAX_SIDE))
    levels = np.asarray(result, np.float32)
    check(photograph, levels, levels, args.strength)
    decoded = levels if args.strength == 0 else decoded_at(photograph, result.size, args.model)
    progress, done_before = bar(photograph.height, "row"), 0

    def on_rows(done: int, of: int) -> None:
        nonlocal done_before
        progress.update(done - done_before)
        done_before = done

    try:
        full = transfer(photograph, levels, decoded, args.strength, on_rows=on_rows)
    finally:
        progress.close()
    exif = None if args.no_metadata else exif_to_keep(photograph)
    save_picture(full, args.output, infotext=infotext_in(args.result) or "", exif=exif)
    print(printable(str(args.output)))
    return 0


def decoded_at(photograph: Image.Image, size: tuple[int, int], model: str) -> np.ndarray:
    """(h, w, 3) in [0, 255]: the photograph at this size through the model's autoencoder, its reflection round it up to whole latents."""
    frame = Frame((-(-size[0] // 8) * 8, -(-size[1] // 8) * 8), (0, 0, *size))
    placed = frame.place(photograph)
    if model == NONE:
        return frame.cut_levels(np.asarray(placed, np.float32))
    from ..editor import Editor

    return frame.cut_levels(Editor.load(model).reconstruct(placed))
