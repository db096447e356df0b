"""The editor against the plain formula, against diffusers' own pipeline and against the tab in a real WebUI, as one table.

    python tests/bench/parity.py [--pairs 9] [--size 256] [--steps 6] [--width 64] [--only abcd]

(a) largest difference of latents from three separate passes; (b) from StableDiffusionInstructPix2PixPipeline, same scheduler
and noise; (c) largest difference of a pixel from the tab, same file and seed, where a WebUI is found; (d) CPU time of the
denoising loop against that pipeline: one thread, pairs interleaved, medians of the pairs' ratios. All networks are small and
random: they show equality and speed, not quality.
"""

# ruff: noqa: E402 (threads and the allocator are set before torch is imported)

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import process

process.prepare()

import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline

from editor_cases import deviation, final_latents, pipeline_latents, plain_formula
from ip2p.edit import Edit
from ip2p.editor import SAMPLERS, Editor, Run
from tiny_model import tiny_editor
from webui import WebUI, checkpoints, drawn_picture, find_webui

FORMULA, PIPELINE, TAB = 1e-5, 1e-4, 2
SCALES = ((7.5, 1.5), (7.5, 1.0), (1.5, 1.5), (1.0, 1.0), (0.0, 1.5))
TAB_CASES = (("DDIM", 4), ("DDIM", 20), ("Euler", 4), ("Euler", 20))
# name, text scale, image scale, negative prompt, the ratio it should keep
SPEED = (
    ("7.5 / 1.5", 7.5, 1.5, "blurry", 1.05),
    ("s_I = 1", 7.5, 1.0, "blurry", 0.72),
    ("s_T = s_I = 1.5", 1.5, 1.5, "blurry", 0.72),
    ("text = negative, s_I = 1", 7.5, 1.0, "make it winter", 0.40),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--width", type=int, default=64, help="channels of the UNet's first level; Stable Diffusion has 320")
    parser.add_argument("--only", default="abcd", help="letters of the parts to run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = {"a": formula, "b": pipeline, "c": tab, "d": speed}
    return 1 if sum(parts[letter](args) for letter in args.only) else 0


def small_edit(**fields) -> Edit:
    common = dict(instruction="make it winter", negative_prompt="blurry", seed=7, steps=6, width=64, height=64)
    return Edit(**{"image": drawn_picture(64, 64), **common, **fields})


def row(name: str, value: float, limit: float, form: str = ".1e") -> bool:
    """Prints a line of the table; True when the limit was missed."""
    print(f"  {name:34}{value:12{form}}{limit:10g}{'  missed' if value > limit else ''}")
    return value > limit


def formula(args) -> int:
    print("(a) the plain formula, three passes: latents, largest difference / largest latent")
    editor = tiny_editor()
    edits = [small_edit(sampler_name=name) for name in SAMPLERS]
    edits += [small_edit(sampler_name="Euler", text_scale=text, image_scale=image) for text, image in SCALES]
    return sum(row(name_of(e), deviation(final_latents(editor, e), plain_formula(editor, e, e.seed)), FORMULA) for e in edits)


def pipeline(args) -> int:
    print("(b) diffusers' own pipeline: latents, largest difference / largest latent")
    editor = tiny_editor()
    # The pipeline takes one step of DDIM more, and guides only where s_T > 1 and s_I ≥ 1.
    edits = [small_edit(sampler_name=name) for name in SAMPLERS if name != "DDIM"]
    edits += [small_edit(sampler_name="Euler", text_scale=text, image_scale=image) for text, image in SCALES if text > 1]
    return sum(row(name_of(e), deviation(final_latents(editor, e), pipeline_latents(editor, e)), PIPELINE) for e in edits)


def name_of(edit: Edit) -> str:
    return f"{edit.sampler_name}, {edit.text_scale:g} / {edit.image_scale:g}"


def tab(args) -> int:
    print("(c) the tab of a real WebUI, same file and seed: levels of 255, largest difference of any pixel")
    webui = find_webui()
    if webui is None:
        print("  left out: no WebUI was found, set SD_WEBUI_DIR to one")
        return 0
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        host = WebUI(webui, Path(folder) / "data")
        try:
            host.wait()
            editor = Editor.load(checkpoints(webui) / "edit.safetensors", device="cpu")
            for name, steps in TAB_CASES:
                fields = dict(
                    image=drawn_picture(64, 64), instruction="make it winter", negative_prompt="blurry", seed=7, steps=steps, width=64, height=64,
                    sampler_name=name,
                )  # fmt: skip
                for text in (fields["instruction"], fields["negative_prompt"]):
                    if editor.tokens(text) != host.probe("tokens", text=text):
                        print(f"  the token ids of “{text}” differ")
                        missed += 1
                (result,) = editor.edit(Edit(**fields))
                levels = abs(np.asarray(result.image, dtype=int) - host.edit(**fields).pixels[0]).max()
                missed += row(f"{name}, {steps} steps", float(levels), TAB, ".0f")
        finally:
            host.stop()
    return missed


def speed(args) -> int:
    editor = tiny_editor(args.width)
    picture = drawn_picture(args.size, args.size)
    print(f"(d) CPU time of the loop: {args.size}², {args.steps} steps, Euler, one thread, medians of {args.pairs} interleaved pairs")
    print(f"  {'case':26}{'rows a step: diffusers':>24}{'ours':>6}{'CPU s: diffusers':>18}{'ours':>8}{'ratio':>8}{'limit':>8}")
    missed = 0
    for name, text, image, negative, limit in SPEED:
        edit = small_edit(
            image=picture, sampler_name="Euler", steps=args.steps, text_scale=text, image_scale=image, negative_prompt=negative,
            width=args.size, height=args.size,
        )  # fmt: skip
        pairs = []
        for i in range(args.pairs + 1):
            order = (ours, theirs) if i % 2 else (theirs, ours)
            results = {side: side(editor, edit) for side in order}
            pairs.append((results[theirs], results[ours]))
        pairs = pairs[1:]  # the first warms both up
        ratio = statistics.median(mine[0] / stock[0] for stock, mine in pairs)
        seconds = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
        rows = [pairs[0][side][1] for side in (0, 1)]
        missed += ratio > limit
        print(
            f"  {name:26}{rows[0]:24.2f}{rows[1]:6.2f}{seconds[0]:18.3f}{seconds[1]:8.3f}{ratio:8.3f}{limit:8.2f}{'  missed' if ratio > limit else ''}"
        )
    busy = os.getloadavg()[0]
    if busy > 1.5:
        print(f"  the machine was busy: load {busy:.1f} on {os.cpu_count()} cores")
    return missed


def ours(editor: Editor, edit: Edit) -> tuple[float, float]:
    """(CPU seconds of the loop, rows a step)"""
    denoise, seconds = Run.denoise, []

    def timed(run, on_step):
        start = time.process_time()
        done = denoise(run, on_step)
        seconds.append(time.process_time() - start)
        return done

    Run.denoise = timed
    try:
        editor.edit(edit)
    finally:
        Run.denoise = denoise
    return seconds[0], statistics.mean(editor.rows)


def theirs(editor: Editor, edit: Edit) -> tuple[float, float]:
    """The same of diffusers' pipeline, whose loop is what its progress bar is open for."""
    pipe = StableDiffusionInstructPix2PixPipeline(
        editor.vae, editor.text_encoder, editor.tokenizer, editor.unet, editor.scheduler(edit), None, None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    bar, seconds, rows = pipe.progress_bar, [], []

    @contextmanager
    def timed(*args, **kwargs):
        start = time.process_time()
        with bar(*args, **kwargs) as progress:
            yield progress
        seconds.append(time.process_time() - start)

    pipe.progress_bar = timed
    hook = editor.unet.register_forward_pre_hook(lambda unet, inputs: rows.append(len(inputs[0])))
    try:
        pipe(
            edit.instruction, edit.image, edit.steps, edit.text_scale, edit.image_scale, edit.negative_prompt, output_type="latent",
            generator=torch.Generator().manual_seed(edit.seed),
        )  # fmt: skip
    finally:
        hook.remove()
    return seconds[0], statistics.mean(rows)


if __name__ == "__main__":
    sys.exit(main())
