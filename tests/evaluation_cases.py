"""What the evaluation's tests share: pictures of a ball, an editor whose edits are known, and the command."""

import json
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image, ImageDraw

from ip2p.__main__ import main
from ip2p.dataset.open import open_pairs
from ip2p.dataset.pairs import Pair
from ip2p.edit import Edit

KINDS = {"green": "make it green", "dark": "make it dark", "red ball": "make the ball red"}
GROUNDS = ("navy", "gray", "maroon")


def scene(ground, ball, place=0):
    image = Image.new("RGB", (64, 64), ground)
    ImageDraw.Draw(image).ellipse((12 + 4 * place, 12, 44 + 4 * place, 44), fill=ball)
    return image


def ball_mask(place):
    return scene("black", "white", place).convert("L")


def captioned_pairs() -> Iterator[Pair]:
    """Three, of one edit."""
    for i in range(3):
        texts = ("make it green",), f"a ball on blue {i}", f"a ball on green {i}"
        yield Pair(scene("navy", "white", i), scene("darkgreen", "white", i), *texts)


def edited_photos() -> Iterator[Pair]:
    """Three photographs with three kinds of procedural edit, the last one local; two phrasings, and one that is held out."""
    for i, ground in enumerate(GROUNDS):
        before = scene(ground, "white", i)
        targets = {
            "green": scene("darkgreen", "white", i), "dark": before.point(lambda v: v // 3), "red ball": scene(ground, "red", i)
        }  # fmt: skip
        for kind, target in targets.items():
            extra = {"kind": kind, "photo": f"photo {i}", "held_out_prompts": json.dumps([f"{kind}, as never heard"])}
            mask = ball_mask(i) if kind == "red ball" else None
            yield Pair(before, target, (KINDS[kind], f"{KINDS[kind]}, please"), mask=mask, extra=extra)


class Oracle:
    """An editor that gives the target of the instruction, or the picture itself, or the target of the next kind. edits: all asked for.

    rows: three of each result, as of one step. Its autoencoder keeps every `levels`-th level.
    """

    def __init__(self, path, answer="target", levels=1):
        pairs, self.answer, self.levels, self.edits = open_pairs(path), answer, levels, []
        rows = [pairs[i] for i in range(len(pairs))]
        self.targets = {}
        for i, row in enumerate(rows):
            other = rows[i - i % 3 + (i + 1) % 3]
            for text in (*row.edit_prompts, *json.loads(row.extra.get("held_out_prompts", "[]"))):
                self.targets[row.original_image.tobytes(), text] = other.edited_image if answer == "next" else row.edited_image
        self.vae = SimpleNamespace(config=SimpleNamespace(scaling_factor=1.0))

    def edit(self, edits, *, batch_size):
        self.edits += edits
        self.rows = [3 * len(edits)]
        return [SimpleNamespace(image=self.result(edit)) for edit in edits]

    def result(self, edit: Edit):
        if self.answer == "input" or edit.text_scale == 0:
            return edit.image
        target = self.targets[edit.image.tobytes(), edit.instruction]
        return Image.blend(edit.image, target, min(edit.text_scale / 7.5 / max(edit.image_scale - 0.5, 1), 1))

    def encode_picture(self, image):
        return torch.from_numpy(np.asarray(image, dtype=np.float32))

    def decode(self, latent):
        return (latent.numpy() // self.levels) * self.levels


def evaluate(model, data, output, *more):
    return main(
        [
            "evaluate",
            "--model",
            str(model),
            "--data",
            str(data),
            "--output",
            str(output),
            "--size",
            "64",
            "--scorer",
            "none",
            *map(str, more),
        ]
    )


def figures_in(folder) -> dict:
    return json.loads((folder / "figures.json").read_text())
