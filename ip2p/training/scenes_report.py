"""The honest test of the whole recipe: a model trained on synthetic scenes, measured on scenes it never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..contact_sheet import contact_sheet
from ..dataset.scenes import Scene, inner, nearest, scene
from ..edit import Edit
from ..editor import Editor
from ..files import written_whole
from ..progress import bar
from .checks import save_sheet

UNSEEN = 1  # seed of scenes that no training sees
COUNT, STEPS = 96, 20
TEXT_SCALES, IMAGE_SCALES = (3.0, 5.0, 7.5), (0.5, 1.0, 1.5, 2.0, 2.5)
MARGIN = 3  # pixels at the outline that belong to neither region: an autoencoder blurs them


@dataclass(frozen=True)
class Figures:
    """Shares of scenes: target: the edited region has the colour asked for; kept: the other one still has its own; both.
    error: mean absolute difference to the original in the other region, in [0, 1]."""

    target: float
    kept: float
    both: float
    error: float


def judge(scenes: Sequence[Scene], results: Sequence[Image.Image]) -> Figures:
    """What the pixels say: a region has the colour of the palette that its mean is nearest to."""
    target, kept, errors = [], [], []
    for example, result in zip(scenes, results):
        pixels = np.asarray(result.convert("RGB"), dtype=np.float32)
        before = np.asarray(original(example), dtype=np.float32)
        asked, other = (inner(region, MARGIN) for region in (example.region, ~example.region))
        own = example.colour if example.target == "background" else example.ground
        target.append(nearest(pixels[asked].mean(0)) == example.asked)
        kept.append(nearest(pixels[other].mean(0)) == own)
        errors.append(np.abs(pixels - before)[other].mean() / 255)
    both = np.logical_and(target, kept)
    return Figures(float(np.mean(target)), float(np.mean(kept)), float(both.mean()), float(np.mean(errors)))


def original(example: Scene) -> Image.Image:
    """The scene before its edit."""
    return example.drawn(example.colour, example.ground)


def edited(
    editor: Editor, scenes: Sequence[Scene], instructions: Sequence[str], text_scale: float, image_scale: float
) -> list[Image.Image]:
    """Every scene edited by the instruction in its place."""
    edits = [
        Edit(
            image=original(example), instruction=text, seed=i, steps=STEPS, longest_side=example.inside.shape[0],
            text_scale=text_scale, image_scale=image_scale, sampler_name="Euler a",
        )
        for i, (example, text) in enumerate(zip(scenes, instructions))
    ]  # fmt: skip
    return [result.image for result in editor.edit(edits, batch_size=32)]


def measure(model: Path, output: Path, count: int = COUNT) -> dict[str, Any]:
    """Prints the figures of the model over the scales with its controls, and writes them and a contact sheet to `output`."""
    editor = Editor.load(model, "cpu")
    scenes = [scene(i, UNSEEN) for i in range(count)]
    asked = [example.instruction for example in scenes]
    settings = [(s_t, s_i) for s_t in TEXT_SCALES for s_i in IMAGE_SCALES]
    shown = bar(len(settings) + 2, "setting")
    table, pictures = {}, {}
    for setting in settings:
        pictures[setting] = edited(editor, scenes, asked, *setting)
        table[setting] = judge(scenes, pictures[setting])
        shown.update(1)
    best = max(table, key=lambda setting: table[setting].both)
    # Without text scale there is no text: what the empty instruction gives at any text scale, since both passes are then one.
    controls = {"instruction blanked": judge(scenes, edited(editor, scenes, asked, 0.0, best[1]))}
    shown.update(1)
    controls["instruction shuffled"] = judge(scenes, edited(editor, scenes, asked[1:] + asked[:1], *best))
    shown.close()
    controls["input copied"] = judge(scenes, [original(example) for example in scenes])

    print(f"{count} scenes never seen, {STEPS} steps of Euler a; shares of scenes, error of the kept region")
    print(f"{'s_T':>5} {'s_I':>5} {'target':>8} {'kept':>8} {'both':>8} {'error':>8}")
    for (s_t, s_i), row in table.items():
        print(f"{s_t:5} {s_i:5} {row.target:8.3f} {row.kept:8.3f} {row.both:8.3f} {row.error:8.4f}" + ("  best" * ((s_t, s_i) == best)))
    for name, row in controls.items():
        print(f"{name:>20}: target {row.target:.3f}, kept {row.kept:.3f}, both {row.both:.3f}, error {row.error:.4f}")
    over = table[best].both - controls["instruction blanked"].both
    print(f"Both regions right: {table[best].both:.3f} at s_T {best[0]}, s_I {best[1]}; {over:.3f} above the instruction blanked.")

    errors = [table[TEXT_SCALES[-1], s_i].error for s_i in IMAGE_SCALES]
    print(f"Error of the kept region at s_T {TEXT_SCALES[-1]} as s_I rises: {' → '.join(f'{error:.4f}' for error in errors)}")

    figures = {
        "best": {"text_scale": best[0], "image_scale": best[1], **asdict(table[best])},
        "settings": [{"text_scale": t, "image_scale": i, **asdict(row)} for (t, i), row in table.items()],
        "controls": {name: asdict(row) for name, row in controls.items()},
    }
    with written_whole(output / "figures.json", force=True) as beside:
        beside.write_text(json.dumps(figures, indent=2))
    rows = range(min(8, count))
    cells = [cell for i in rows for cell in (original(scenes[i]), pictures[best][i])]
    save_sheet(contact_sheet(cells, [asked[i] for i in rows], ["before", "edited"]), output / "edits.png")
    return figures
