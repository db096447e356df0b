"""Validation while a stage trains: grids of pictures, the same ones every time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..contact_sheet import contact_sheet
from ..edit import Edit
from ..files import written_whole
from ..pixels import to_levels, to_picture
from .config import Config, validation_edit
from .data import Folder, crop
from .networks import Networks
from .rows import Rows

GRID = "{:08d}.png"  # of the validation after that many steps


class Check:
    """check(step) draws the grid of that step into file(step)."""

    def __init__(self, config: Config, name: str):
        self.folder = Path(config.output) / name / "validation"

    def __call__(self, step: int) -> None:
        raise NotImplementedError

    def file(self, step: int) -> Path:
        return self.folder / GRID.format(step)


class AutoencoderCheck(Check):
    """Pictures and their reconstructions beside each other, and the PSNR."""

    def __init__(self, config: Config, name: str, networks: Networks, rows: Rows):
        super().__init__(config, name)
        self.vae = networks.vae
        stage = replace(config.stages[name], flip=0.0, resize=[])
        data, count = config.data, config.validation.rows
        if data.pictures:
            every = Folder(replace(data, hold_out=[]))
            held_out = [i for i, path in enumerate(every.paths) if path.stem in data.hold_out]
            pictures = [every[i] for i in held_out or range(len(every))[:count]]
        else:
            pictures = rows.shown_pictures
        self.pixels = [crop([picture], stage, np.random.default_rng(0))[0] for picture in pictures]

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        cells, errors = [], []
        for pixels in self.pixels:
            decoded = self.vae.decode(self.vae.encode(pixels[None].to(self.vae.device)).latent_dist.mode()).sample[0].cpu().clamp(-1, 1)
            errors.append(float(((decoded - pixels) / 2).square().mean()))
            cells += [to_picture(to_levels(pixels)), to_picture(to_levels(decoded))]
        psnr = sum(-10 * math.log10(error) for error in errors) / len(errors)
        save_sheet(contact_sheet(cells, [str(i) for i in range(len(errors))], ["picture", "reconstruction"]), self.file(step))
        print(f"Step {step}: PSNR {psnr:.2f} dB over {len(errors)} pictures.", flush=True)


class EditCheck(Check):
    """Fixed pictures edited by their instructions, from the same noise every time."""

    def __init__(self, config: Config, name: str, networks: Networks, rows: Rows):
        super().__init__(config, name)
        self.networks = networks
        instructions = config.validation.instructions
        self.edits: list[Edit] = []
        self.pictures: list[tuple[Image.Image, Image.Image | None]] = []  # before, and after where the set has it
        for i, pair in enumerate(rows.shown):
            instruction = instructions[i % len(instructions)] if instructions else pair.edit_prompt
            self.edits.append(validation_edit(config, name, pair.original_image, instruction, i))
            self.pictures.append((pair.original_image, None if instructions else pair.edited_image))

    def __call__(self, step: int) -> None:
        results = self.networks.editor().edit(self.edits)
        cells = []
        for (before, after), result in zip(self.pictures, results):
            size = result.image.size
            cells += [before.resize(size), result.image] + ([after.resize(size)] if after else [])
        columns = ["before", "edited", "wanted"][: len(cells) // len(results)]
        save_sheet(contact_sheet(cells, [edit.instruction for edit in self.edits], columns), self.file(step))


class StudentCheck(EditCheck):
    """The same of a student, whose usual scales are its own: one pass makes each step."""

    def __init__(self, config: Config, name: str, networks: Networks, rows: Rows):
        super().__init__(config, name, networks, rows)
        self.edits = [replace(edit, text_scale=1, image_scale=1) for edit in self.edits]


def save_sheet(sheet: Image.Image, path: Path) -> None:
    with written_whole(path, force=True) as beside:
        sheet.save(beside, "PNG")
