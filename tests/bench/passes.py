"""UNet rows and CPU time of sampling: this extension against the WebUI's own edit path, and fast edits against exact ones, in one real
WebUI.

    python tests/bench/passes.py [--pairs 7] [--size 256] [--steps 6] [--width 64] [--only-fast]

Needs a WebUI where tests/host finds one. One thread, pairs interleaved, medians of the pairs' ratios. The network is small
and random: it shows speed, not quality.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "host"))

from process import MEMORY

from webui import HERE, WebUI, drawn_picture, environment, find_webui, python_of, to_base64

# name, text scale, image scale, negative prompt, the ratio it should keep
CASES = (
    ("7.5 / 1.5", 7.5, 1.5, "blurry", 1.05),
    ("s_T = s_I", 1.5, 1.5, "blurry", 0.72),
    ("s_T = 0", 0.0, 1.5, "blurry", 0.72),
    ("text = negative", 7.5, 1.5, "make it winter", 0.72),
    ("s_T = s_I = 1", 1.0, 1.0, "blurry", 0.58),
    ("text = negative, s_I = 1", 7.5, 1.0, "make it winter", 0.58),
)

# sampler, steps, image scale, the rows of a fast edit, the ratio of its time to an exact one's that it should keep
FAST_CASES = (("Euler a", 20, 1.5, 35, 0.65), ("DPM++ 2M", 10, 1.5, 18, 0.67), ("Euler a", 20, 1.0, 30, 0.82))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--width", type=int, default=64, help="channels of the UNet's first level; Stable Diffusion has 320")
    parser.add_argument("--only-fast", action="store_true", help="fast edits against exact ones alone")
    args = parser.parse_args()

    webui = find_webui()
    if webui is None:
        sys.exit("No WebUI was found: set SD_WEBUI_DIR to one.")
    os.environ.update(MEMORY)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "bench.safetensors"
        make = [python_of(webui), HERE / "make_checkpoint.py", webui, checkpoint, "--width", str(args.width)]
        subprocess.run(make, check=True, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        host = WebUI(webui, Path(folder) / "data", "--ckpt", checkpoint)
        try:
            host.wait()
            missed = measure_fast(host, args) + (0 if args.only_fast else measure(host, args))
            return 1 if missed else 0
        finally:
            host.stop()


def measure(host: WebUI, args) -> int:
    picture = to_base64(drawn_picture(args.size, args.size))
    common = dict(seed=1, steps=args.steps, width=args.size, height=args.size, sampler_name="Euler")

    def ours(text, image, negative):
        fields = dict(image=picture, instruction="make it winter", negative_prompt=negative, text_scale=text, image_scale=image)
        return per_call(*run(host, "/instruct-edit/v1/edit", {**common, **fields}))

    def theirs(text, image, negative):
        fields = dict(init_images=[picture], prompt="make it winter", negative_prompt=negative, cfg_scale=text, image_cfg_scale=image)
        stock = dict(denoising_strength=1, alwayson_scripts={"Instruct edit": {"args": [False]}})
        return per_call(*run(host, "/sdapi/v1/img2img", {**common, **fields, **stock}))

    def per_call(rows, seconds):
        return rows / len(host.probe("records")["calls"]), seconds

    failed = 0
    print(f"{args.size}², {args.steps} steps, Euler, one thread, medians of {args.pairs} interleaved pairs")
    print(f"{'case':26}{'rows a call: WebUI':>20}{'ours':>6}{'CPU s: WebUI':>14}{'ours':>8}{'ratio':>8}{'limit':>8}")
    for name, text, image, negative, limit in CASES:
        rows, seconds, ratio = compared(args.pairs, partial(theirs, text, image, negative), partial(ours, text, image, negative))
        failed += ratio > limit
        print(
            f"{name:26}{rows[0]:20.2f}{rows[1]:6.2f}{seconds[0]:14.3f}{seconds[1]:8.3f}{ratio:8.3f}{limit:8.2f}{' missed' if ratio > limit else ''}"
        )
    return failed


def measure_fast(host: WebUI, args) -> int:
    picture = to_base64(drawn_picture(args.size, args.size))
    failed = 0
    print(f"{args.size}², one thread, medians of {args.pairs} interleaved pairs")
    print(f"{'case':26}{'rows: exact':>14}{'fast':>6}{'CPU s: exact':>14}{'fast':>8}{'ratio':>8}{'limit':>8}")
    for sampler, steps, image_scale, wanted, limit in FAST_CASES:
        common = dict(image=picture, instruction="make it winter", negative_prompt="blurry", text_scale=7.5, image_scale=image_scale)
        common |= dict(seed=1, steps=steps, width=args.size, height=args.size, sampler_name=sampler)
        exact, fast = (partial(run, host, "/instruct-edit/v1/edit", {**common, "speed": speed}) for speed in ("exact", "fast"))
        rows, seconds, ratio = compared(args.pairs, exact, fast)
        missed = ratio > limit or rows[1] != wanted
        failed += missed
        case = f"{sampler}, {steps} steps" + ("" if image_scale == 1.5 else f", s_I = {image_scale:g}")
        print(f"{case:26}{rows[0]:14}{rows[1]:6}{seconds[0]:14.3f}{seconds[1]:8.3f}{ratio:8.3f}{limit:8.2f}{' missed' if missed else ''}")
    return failed


def run(host: WebUI, path: str, request: dict) -> tuple[int, float]:
    """→ rows of the UNet, CPU seconds of the sampling."""
    host.probe("clear")
    answer = host.post(path, request)
    assert answer.ok, answer.text
    records = host.probe("records")
    return sum(records["unet"]), records["sampling"][0]


def compared(count: int, one, other) -> tuple[list, list[float], float]:
    """Both in turn, each first in every other pair → the rows and the seconds of both, and the median ratio of the other's seconds."""
    pairs = []
    for i in range(count + 1):
        results = {side: side() for side in ((other, one) if i % 2 else (one, other))}
        pairs.append((results[one], results[other]))
    pairs = pairs[1:]  # the first warms both up
    ratio = statistics.median(second[1] / first[1] for first, second in pairs)
    return [pairs[0][side][0] for side in (0, 1)], [statistics.median(pair[side][1] for pair in pairs) for side in (0, 1)], ratio


if __name__ == "__main__":
    sys.exit(main())
