"""python -m ip2p edit: one picture, or a folder of them."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..batch import Stamps, Task
from ..chain import lines_of
from ..checkpoints.defaults import defaults_for
from ..checkpoints.fingerprint import OWN_NAMES, fingerprint_of
from ..checkpoints.lora import lora_named
from ..checkpoints.packaged import BY_NAME, CHOICES, OFFICIAL, PUBLISHED, SMALL
from ..edit import FULL, OWN_SIZE, RESULTS, SPEEDS, WORKING, Edit, read_scales, scales_around, sheet_over_scales
from ..errors import EditError, printable
from ..images import read_mask
from ..presets import load, preset_named
from ..where import Where
from . import region_options, runner_options
from .edit_outputs import Request, tasks_of, unfinished, writable
from .edit_pictures import Edited, EditPictures, Steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("input", type=Path, metavar="INPUT", help="a picture, or a folder of pictures")
    add(
        "instruction",
        nargs="?",
        metavar="INSTRUCTION",
        help="what to change, for example “make it winter”; several instructions, one a line, are a chain: each edits the result of the one before",
    )
    add("--recursive", action="store_true", help="the pictures of a folder's subfolders too, into subfolders of the output (default: off)")
    add(
        "--output",
        required=True,
        help="the .png, .jpg or .webp file to write, or a folder; with / at its end it is a folder whatever its name",
    )
    add(
        "--result",
        choices=RESULTS,
        help=f"{FULL}: of the picture's own size, with its own detail; {OWN_SIZE}: enlarged to that size; {WORKING}: of the size it is edited at "
        f"(default: {FULL}, and {WORKING} for the sheets of --grid and --compare)",
    )
    add(
        "--detail",
        type=float,
        metavar="0–1",
        help="how much of the picture's own detail a full result keeps (default: 1, or what suits the preset)",
    )
    add(
        "--crop",
        action="store_true",
        help="cut the picture around its middle to sides of multiples of 64 pixels, as the paper does (default: it is edited whole)",
    )
    add("--model", help=f"{CHOICES} (default: {SMALL.name})")
    scales = "; with --grid several, such as {} (default: the model's own)"
    add("--text-scale", metavar="S", help="how strongly to follow the instruction" + scales.format("5,7.5,10"))
    add("--image-scale", metavar="S", help="how closely to keep to the picture" + scales.format("1.2,1.5,1.8"))
    add("--steps", type=int, help="denoising steps (default: the model's own, or the preset's)")
    add(
        "--speed",
        choices=tuple(SPEEDS),
        default=Edit.speed,
        help=f"fast: a little over half of the network's work, for nearly the same picture (default: {Edit.speed})",
    )
    add("--seed", type=int, default=-1, help="of the first result; -1 draws one (default: -1)")
    add("--sampler", help="Euler a, Euler, DPM++ 2M, DDIM, UniPC or LCM (default: the model's own)")
    add("--scheduler", help="Automatic, or SGM Uniform, which LCM is used with (default: the model's own, or Automatic)")
    add(
        "--lora",
        action="append",
        default=[],
        metavar="FILE[:WEIGHT]",
        help="a .safetensors file to add to the model's weights, times WEIGHT, which is 1 if left out; several may be given (default: none)",
    )
    add("--negative", default="", metavar="TEXT", help="what the result should not be (default: nothing)")
    add("--size", metavar="WxH|N", help="width and height, or the longest side (default: the model's own)")
    add(
        "--mask",
        type=Path,
        metavar="FILE",
        help="a picture of the same size; white is edited, or what is painted on a transparent ground (default: edit everything)",
    )
    region_options.add_arguments(parser)
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
        help=f"a ready instruction in place of INSTRUCTION, with its steps and, except for {' and '.join(BY_NAME)}, its scales; the keys are in ip2p/presets.yaml",
    )
    add("--variations", metavar="WORD", help="one result for each choice of a word of the preset, all from one seed (default: off)")
    add("--choice", action="append", default=[], metavar="WORD=TEXT", help="fills in a word of the preset (default: the preset's own)")
    add(
        "--no-metadata",
        action="store_true",
        help="leave the photograph's date, place and camera out of the results (default: they are kept)",
    )
    add("--force", action="store_true", help="overwrite results that exist already (default: off)")
    runner_options.add_arguments(parser, default=runner_options.HERE)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    named, args.model = args.model, args.model or SMALL.name
    runner_options.check(args)
    where, args.mask = region_options.where_of(args)
    request = request_of(args, where)
    tasks, passed_over = tasks_of(args.input, args.output, request, args.recursive, args.mask)
    mask = read_mask(args.mask) if args.mask else None
    single = not args.input.is_dir()
    failed = {task.source: reason for task in tasks if (reason := writable(task))}
    if single and failed:
        raise EditError(failed[args.input])
    possible = [task for task in tasks if task.source not in failed]
    todo, finished = unfinished(possible, Stamps(request.settings, args.model, args.mask), args.force)
    edited, progress = 0, Steps(len(todo))
    for source, reason in failed.items():
        progress.say(f"{source.name}: {reason}")
    try:
        for number, (task, outcome) in enumerate(zip(todo, outcomes(args, request, todo, progress))):
            if outcome.failed and single:
                raise EditError(outcome.failed)
            for note in outcome.notes:
                progress.say_note(task.source, note)
            if outcome.failed:
                progress.say(f"{task.source.name}: {outcome.failed}")
                failed[task.source] = outcome.failed
            else:
                edited += 1
            progress.finished(number)
    finally:
        progress.close()
    if mask is not None:
        progress.say_notes(args.mask, mask)
    if passed_over:
        progress.say(passed_over)
    if single:
        print("\n".join(printable(str(target)) for task in todo for target in task.targets) or "Nothing to do: it is there already.")
    else:
        print(f"{edited} edited, {finished} there already, {len(failed)} failed.")
    if edited and named is None and args.model == SMALL.name:
        hint = f"--model {OFFICIAL}"
        print(f"Edited with the small checkpoint that comes with the package. {PUBLISHED}: {hint}.", file=sys.stderr)
    return 1 if failed else 0


def outcomes(args: argparse.Namespace, request: Request, todo: Sequence[Task], progress: Steps) -> Iterator[Edited]:
    """What becomes of each picture, in their order. Raises EditError for what ends the run."""
    if not todo:
        return
    import torch

    from ..runners import Attempts

    output = Path(args.output).absolute() if args.input.is_dir() else todo[0].targets[0].absolute().parent
    attempts = None if args.runner == runner_options.HERE else Attempts(output)
    place = args.model if args.model in OWN_NAMES else runner_options.anywhere(args.model)
    loras = [replace(lora, file=lora.file.absolute()) for lora in request.loras]
    stage = EditPictures(place, replace(request, loras=loras), args.mask and args.mask.absolute(), attempts, torch.get_num_threads())
    tasks = [replace(task, source=task.source.absolute(), targets=[target.absolute() for target in task.targets]) for task in todo]
    try:
        yield from runner_options.runner_of(args).run(stage, tasks, progress.report)
    finally:
        if attempts is not None:
            attempts.close()


def request_of(args: argparse.Namespace, where: Where | None = None) -> Request:
    """The settings, checked before a model is loaded. Raises EditError."""
    defaults = defaults_for(args.model)
    chosen: dict[str, Any] = {}
    instruction = args.instruction
    variations: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    if args.preset:
        if instruction is not None:
            raise EditError("Give an instruction or a preset, not both.")
        preset = preset_named(args.preset, load())
        instruction = preset.instruction_for(**choices_of(args.choice))
        if args.variations:
            variations = preset.variations(args.variations, **choices_of(args.choice))
            words = preset.choices[args.variations]
        where = where or (None if args.region or args.mask else region_options.of_preset(preset))
        chosen = defaults.ready(preset)
    elif args.choice or args.variations:
        raise EditError(f"--{'choice' if args.choice else 'variations'} fills in a word of a preset: name one by --preset.")
    elif instruction is None:
        raise EditError("Say what to change, for example: edit photo.jpg “make it winter” --output winter.png.")
    scales: dict[str, list[float]] = {}
    for name in ("text_scale", "image_scale"):
        asked = getattr(args, name)
        default = chosen.get(name, getattr(defaults, name))
        if asked is not None:
            scales[name] = read_scales(asked, name.replace("_", " ") + "s")
        else:
            scales[name] = scales_around(name, default) if args.grid else [default]
        if not scales[name] or (len(scales[name]) > 1 and not args.grid):
            raise EditError(f"--{name.replace('_', '-')} takes one number; several, with commas, go with --grid.")
    if args.grid and args.count != 1:
        raise EditError("A contact sheet has one result for every pair of scales: leave --count out.")
    if args.grid and args.compare:
        raise EditError("A contact sheet over the scales and one of before and after are two pictures: leave --grid or --compare out.")
    if args.grid and args.every_step:
        raise EditError("A contact sheet is of one instruction, which has one step: leave --grid or --every-step out.")
    sheet = "--grid" if args.grid else "--compare" if args.compare else None
    if sheet and args.result not in (None, WORKING):
        raise EditError(f"The sheet of {sheet} shows results of the size they are edited at: leave --result or {sheet} out.")
    result = args.result or (WORKING if sheet else FULL)
    if args.detail is not None and result != FULL:
        raise EditError(f"--detail is of a full result, and this one is “{result}”: leave --detail out.")
    placeholder = Image.new("RGB", (64, 64))
    edit = Edit(
        image=placeholder,
        instruction=instruction,
        negative_prompt=args.negative,
        text_scale=scales["text_scale"][0],
        image_scale=scales["image_scale"][0],
        steps=args.steps if args.steps is not None else chosen.get("steps", defaults.steps),
        speed=args.speed,
        sampler_name=args.sampler or defaults.sampler_name,
        scheduler=args.scheduler or defaults.scheduler_with(args.sampler),
        seed=args.seed,
        count=args.count,
        result=result,
        detail=args.detail if args.detail is not None else chosen.get("detail", 1.0),
        crop=args.crop,
        region=where,
        mask=args.mask and placeholder.convert("L"),
        variations=variations,
        **{"longest_side": defaults.longest_side, **size_of(args.size)},
    )
    cells = sheet_over_scales(scales["text_scale"], scales["image_scale"], 0) if args.grid else ()
    lines_of(replace(edit, variants=cells))
    settings: dict[str, Any] = {**scales, "grid": args.grid}
    settings |= {name: True for name in ("compare", "every_step", "no_metadata") if getattr(args, name)}
    settings |= {name: getattr(edit, name) for name in ("instruction", "negative_prompt", "steps", "sampler_name", "seed", "count")}
    settings |= {name: getattr(edit, name) for name in ("result", "detail", "crop")}
    settings |= {"scheduler": edit.scheduler} if edit.scheduler != Edit.scheduler else {}
    settings |= {name: getattr(edit, name) for name in ("width", "height", "longest_side")}
    if where is not None:
        settings["region"] = where.text
    if edit.speed != Edit.speed:  # what was made before there was a choice keeps its name
        settings["speed"] = edit.speed
    if variations:
        settings["variations"] = list(variations)
    loras = [lora_named(text) for text in args.lora]
    if loras:
        settings["loras"] = [[fingerprint_of(str(lora.file), named=False), lora.weight] for lora in loras]
    keep_metadata = not args.no_metadata
    return Request(
        edit, scales["text_scale"], scales["image_scale"], args.grid, args.compare, args.every_step, keep_metadata, settings, words, loras
    )


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
