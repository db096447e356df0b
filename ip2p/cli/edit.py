"""python -m ip2p edit: one picture, or a folder of them."""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..chain import lines_of
from ..checkpoints import small
from ..contact_sheet import contact_sheet
from ..edit import Edit, read_scales, scales_around, sheet_over_scales
from ..errors import EditError
from ..files import PICTURE_SUFFIXES, why, written_whole
from ..images import fit, read_image
from ..presets import load, preset_named
from ..progress import bar

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..editor import Editor, Result

LABEL = 32  # characters above a picture
SETTINGS = "ip2p"  # the PNG's field with the settings it was made with, by which a later run knows it is finished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("input", type=Path, metavar="INPUT", help="a picture, or a folder of pictures")
    add(
        "instruction",
        nargs="?",
        metavar="INSTRUCTION",
        help="what to change, for example “make it winter”; several instructions, one a line, are a chain: each edits the result of the one before",
    )
    add("--output", type=Path, required=True, help="the .png file to write, or a folder")
    add("--model", help=f"{small.CHOICES} (default: {small.NAME})")
    scales = "; with --grid several, such as {} (default: the model's own)"
    add("--text-scale", metavar="S", help="how strongly to follow the instruction" + scales.format("5,7.5,10"))
    add("--image-scale", metavar="S", help="how closely to keep to the picture" + scales.format("1.2,1.5,1.8"))
    add("--steps", type=int, help=f"denoising steps (default: {Edit.steps}, or the preset's own)")
    add("--seed", type=int, default=-1, help="of the first result; -1 draws one (default: -1)")
    add("--sampler", default="Euler a", help="Euler a, Euler, DPM++ 2M, DDIM or UniPC (default: Euler a)")
    add("--negative", default="", metavar="TEXT", help="what the result should not be (default: nothing)")
    add("--size", metavar="WxH|N", help="width and height, or the longest side (default: the model's own)")
    add("--mask", type=Path, metavar="FILE", help="a picture of the same size; white is edited (default: edit everything)")
    add("--count", type=int, default=1, help="results of each picture, from seed, seed + 1 and so on (default: 1)")
    add(
        "--every-step",
        action="store_true",
        help="write the result of every line of a chain, as NAME-step-1.png and so on, not only of the last (default: off)",
    )
    add(
        "--grid",
        action="store_true",
        help="one labelled contact sheet over the text and image scales, by default three of each around the model's own (default: off)",
    )
    add("--compare", action="store_true", help="one picture of the results beside the original (default: off)")
    add(
        "--preset",
        metavar="NAME",
        help=f"a ready instruction in place of INSTRUCTION, with its steps and, except for {small.NAME}, its scales; the keys are in ip2p/presets.yaml",
    )
    add("--choice", action="append", default=[], metavar="WORD=TEXT", help="fills in a word of the preset (default: the preset's own)")
    add("--force", action="store_true", help="overwrite results that exist already (default: off)")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Request:
    """What is done to every picture. `edit` has a placeholder for the picture. A grid has several of its scales; `sheet`: all results go
    into one picture."""

    edit: Edit
    text_scales: Sequence[float]
    image_scales: Sequence[float]
    grid: bool
    compare: bool
    every_step: bool
    settings: str

    @property
    def sheet(self) -> bool:
        return self.grid or self.compare

    def names(self, stem: str) -> list[str]:
        """The files to write: of each line in turn its results, in the order of `written`."""
        if self.sheet:
            return [f"{stem}.png"]
        count = self.edit.count
        stems = [stem] if count == 1 else [f"{stem}-{i + 1}" for i in range(count)]
        if not self.every_step:
            return [f"{stem}.png" for stem in stems]
        return [f"{stem}-step-{line + 1}.png" for line in range(len(lines_of(self.edit))) for stem in stems]


def run(args: argparse.Namespace) -> int:
    named, args.model = args.model, args.model or small.NAME
    request = request_of(args)
    single = not args.input.is_dir()
    todo, finished = unfinished(outputs_of(args, request), request, args.force)
    edited, failed = 0, 0
    if todo:
        from ..editor import Editor

        mask = read_image(args.mask).convert("L") if args.mask else None
        editor = Editor.load(args.model)
        progress = Steps(len(todo))
        try:
            for source, targets in todo:
                try:
                    edit_one(editor, source, targets, request, mask, progress)
                    edited += 1
                except (EditError, OSError, MemoryError) as e:
                    if single:
                        raise EditError(str(e) if isinstance(e, EditError) else why(e)) from e
                    progress.say(f"{source.name}: {' '.join(str(e).split()) if isinstance(e, EditError) else why(e)}")
                    failed += 1
                progress.next_picture()
        finally:
            progress.close()
    if single:
        print("\n".join(str(target) for _, targets in todo for target in targets) or "Nothing to do: it is there already.")
    else:
        print(f"{edited} edited, {finished} there already, {failed} failed.")
    if edited and named is None and args.model == small.NAME:
        hint = f"--model {small.OFFICIAL}"
        print(f"Edited with the small checkpoint that comes with the package. {small.PUBLISHED}: {hint}.", file=sys.stderr)
    return 1 if failed else 0


def request_of(args: argparse.Namespace) -> Request:
    """The settings, checked before a model is loaded. Raises EditError."""
    defaults = small.defaults_for(args.model)
    chosen: dict[str, Any] = {}
    instruction = args.instruction
    if args.preset:
        if instruction is not None:
            raise EditError("Give an instruction or a preset, not both.")
        preset = preset_named(args.preset, load())
        instruction = preset.instruction_for(**choices_of(args.choice))
        chosen = {"steps": preset.steps}
        if defaults != small.DEFAULTS:  # a preset's scales are the published checkpoint's
            chosen |= {"text_scale": preset.text_scale, "image_scale": preset.image_scale}
    elif args.choice:
        raise EditError("--choice fills in a word of a preset: name one by --preset.")
    elif instruction is None:
        raise EditError("Say what to change, for example: edit photo.jpg “make it winter” --output winter.png.")
    scales: dict[str, list[float]] = {}
    for name in ("text_scale", "image_scale"):
        asked = getattr(args, name)
        default = chosen.get(name, getattr(defaults, name))
        if asked is not None:
            scales[name] = read_scales(asked, name.replace("_", " ") + "s")
        else:
            scales[name] = scales_around(default) if args.grid else [default]
        if not scales[name] or (len(scales[name]) > 1 and not args.grid):
            raise EditError(f"--{name.replace('_', '-')} takes one number; several, with commas, go with --grid.")
    if args.grid and args.count != 1:
        raise EditError("A contact sheet has one result for every pair of scales: leave --count out.")
    if args.grid and args.compare:
        raise EditError("A contact sheet over the scales and one of before and after are two pictures: leave --grid or --compare out.")
    if args.grid and args.every_step:
        raise EditError("A contact sheet is of one instruction, which has one step: leave --grid or --every-step out.")
    edit = Edit(
        image=Image.new("RGB", (64, 64)),
        instruction=instruction,
        negative_prompt=args.negative,
        text_scale=scales["text_scale"][0],
        image_scale=scales["image_scale"][0],
        steps=args.steps if args.steps is not None else chosen.get("steps", 20),
        sampler_name=args.sampler,
        seed=args.seed,
        count=args.count,
        **{"longest_side": defaults.longest_side, **size_of(args.size)},
    )
    cells = sheet_over_scales(scales["text_scale"], scales["image_scale"], 0) if args.grid else ()
    lines_of(replace(edit, variants=cells))
    stamp = {**scales, "mask": args.mask and args.mask.name, "model": Path(args.model).name, "grid": args.grid}
    stamp |= {name: True for name in ("compare", "every_step") if getattr(args, name)}
    stamp |= {name: getattr(edit, name) for name in ("instruction", "negative_prompt", "steps", "sampler_name", "seed", "count")}
    stamp |= {name: getattr(edit, name) for name in ("width", "height", "longest_side")}
    settings = json.dumps(stamp, sort_keys=True)
    return Request(edit, scales["text_scale"], scales["image_scale"], args.grid, args.compare, args.every_step, settings)


def choices_of(choices: Sequence[str]) -> dict[str, str]:
    """["to=foggy"] → {"to": "foggy"}. Raises EditError for what has no “=”."""
    for choice in choices:
        if "=" not in choice:
            raise EditError(f"--choice is WORD=TEXT, for example to=foggy, not “{choice[:80]}”.")
    return {word.strip(): text for word, _, text in (choice.partition("=") for choice in choices)}


def size_of(text: str | None) -> dict[str, Any]:
    """“640x512” → width and height, “640” → the longest side. Raises EditError."""
    if text is None:
        return {}
    if not (size := re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text.strip())):
        raise EditError(f"--size is a width and a height, 640x512, or the longest side, 640, not “{text[:80]}”.")
    width, height = size.groups()
    return {"width": int(width), "height": int(height)} if height else {"longest_side": int(width)}


def outputs_of(args: argparse.Namespace, request: Request) -> list[tuple[Path, list[Path]]]:
    """Every picture and the files to write of it, in natural order. Raises EditError when there is nothing to edit."""
    to_file = args.output.suffix != "" and not args.output.is_dir()
    if to_file and args.output.suffix.lower() != ".png":
        raise EditError(f"Results are .png files, which keep their settings: name --output so, not {args.output.name}.")
    if not args.input.is_dir():
        if not args.input.exists():
            raise EditError(f"There is no picture {args.input}.")
        stem = args.output.stem if to_file else args.input.stem
        folder = args.output.parent if to_file else args.output
        targets = [folder / name for name in request.names(stem)]
        if any(target.exists() and target.samefile(args.input) for target in targets):
            raise EditError("The output is the picture itself: choose another name.")
        return [(args.input, targets)]
    if to_file:
        raise EditError(f"A folder is edited into a folder, and {args.output} is a file's name.")
    if args.output.exists() and args.output.samefile(args.input):
        raise EditError("The output is the folder of the pictures itself: choose another one.")
    sources = [path for path in args.input.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file() and path.name[0] != "."]
    if not sources:
        raise EditError(f"There are no pictures in {args.input}.")
    sources.sort(key=natural)
    stems = Counter(path.stem.lower() for path in sources)
    stem_of = {path: path.stem if stems[path.stem.lower()] == 1 else path.name for path in sources}
    return [(path, [args.output / name for name in request.names(stem_of[path])]) for path in sources]


def natural(path: Path) -> list[str | int]:
    """A key that sorts 2 before 10: text and numbers in turn."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", path.name.lower())]


def unfinished(outputs: list[tuple[Path, list[Path]]], request: Request, force: bool) -> tuple[list[tuple[Path, list[Path]]], int]:
    """What is still to do, and how many pictures are finished. Raises EditError when a file there is of other settings."""
    if force:
        return outputs, 0
    for _, targets in outputs:
        for target in targets:
            if target.exists() and settings_in(target) != request.settings:
                raise EditError(
                    f"{target} exists already and was made with other settings: choose another --output, or overwrite it with --force."
                )
    todo = [(source, targets) for source, targets in outputs if not all(target.exists() for target in targets)]
    return todo, len(outputs) - len(todo)


def settings_in(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            return image.info.get(SETTINGS)
    except Exception:  # whatever the file is, this did not write it
        return None


def edit_one(editor: Editor, source: Path, targets: list[Path], request: Request, mask: Image.Image | None, progress: Steps) -> None:
    """Edits one picture and writes its results. Raises EditError."""
    edit = replace(request.edit, image=read_image(source), mask=mask)
    if request.grid:
        seed = random.randrange(2**32) if edit.seed == -1 else edit.seed
        cells = sheet_over_scales(request.text_scales, request.image_scales, seed)
        results = editor.edit(replace(edit, seed=seed, variants=cells), on_step=progress.step)
        rows, columns = ([f"{name} {s:g}" for s in scales] for name, scales in
                         (("text", request.text_scales), ("image", request.image_scales)))  # fmt: skip
        sheet = contact_sheet([result.image for result in results], rows, columns)
        return write(targets[0], sheet, results[0].infotext, request)
    results = editor.edit(edit, on_step=progress.step)
    lines = [results[i : i + edit.count] for i in range(0, len(results), edit.count)]
    if request.compare:
        sheet = comparison(edit, lines, request.every_step)
        return write(targets[0], sheet, lines[-1][0].infotext, request)
    for target, result in zip(targets, results if request.every_step else lines[-1]):
        write(target, result.image, result.infotext, request)
    return None


def comparison(edit: Edit, lines: Sequence[Sequence[Result]], every_step: bool) -> Image.Image:
    """The picture and beside it the results of the last line; or, with every step, a row for every seed with the results of all lines.

    lines: of every line of the chain its results.
    """
    before = fit(edit.image, lines[-1][0].image.size)
    seeds = [f"seed {result.seed}" for result in lines[-1]]
    shorter = [shorten(line.instruction, LABEL, placeholder="…") for line in lines_of(edit)]
    if every_step:
        cells = [picture for results in zip(*lines) for picture in (before, *(result.image for result in results))]
        return contact_sheet(cells, seeds if len(seeds) > 1 else [""], ["before", *shorter])
    labels = seeds if len(seeds) > 1 else [shorten(edit.instruction, LABEL, placeholder="…")]
    return contact_sheet([before, *(result.image for result in lines[-1])], [""], ["before", *labels])


def write(target: Path, image: Image.Image, infotext: str, request: Request) -> None:
    """A PNG with the field that the WebUI's PNG Info reads."""
    fields = PngInfo()
    fields.add_text("parameters", infotext)
    fields.add_text(SETTINGS, request.settings)
    with written_whole(target, force=True) as beside:
        image.save(beside, format="PNG", pnginfo=fields)


class Steps:
    """Progress over the steps of all pictures. The first picture's first step tells how many steps each has."""

    def __init__(self, pictures: int):
        self.pictures, self.finished, self.per_picture, self.shown = pictures, 0, 0, 0
        self.bar: tqdm | None = None

    def step(self, step: int, total: int, latents: object = None) -> None:
        """The editor's callback after every step."""
        if self.bar is None:
            self.per_picture = total
            self.bar = bar(self.pictures * total, "step")
        self._to(self.finished * self.per_picture + min(step, self.per_picture))

    def next_picture(self) -> None:
        self.finished += 1
        self._to(self.finished * self.per_picture)

    def _to(self, done: int) -> None:
        if self.bar is not None and done > self.shown:
            self.bar.update(done - self.shown)
            self.shown = done

    def say(self, sentence: str) -> None:
        if self.bar is None:
            print(sentence, file=sys.stderr)
        else:
            self.bar.write(sentence, file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
