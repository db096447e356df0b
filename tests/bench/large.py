"""Seconds that a large picture takes in the tab of a real WebUI, in Chromium, beside a small one of the same aspect and working size.

    python tests/bench/large.py [--pairs 7] [--megapixels 12] [--steps 4]

Needs a WebUI and a Chromium where tests/host finds them. The small checkpoint edits at its own size, each result is full, and the WebUI saves
it as PNG and keeps it in the history. Both pictures are photographs in JPEG, dropped on the field and edited by turns, medians of the pairs.

- drop → paint: from the drop until the picture is displayed and its canvas takes a stroke.
- Generate → result: from the press until the result is displayed, whole.
- Generate → history: from the press until the strip shows the edit, by when everything is done.
- CPU of the WebUI: what its process took meanwhile, which says more where the machine was busy.

Ends with 1 where a limit is missed: 2 s from drop to paint, and 6 s more than the small one's from Generate to the end.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "host"))

import numpy as np
from PIL import Image

from browser import WIDE, Tab, chromium_running, stroke
from ip2p.checkpoints.packaged import SMALL
from webui import REPOSITORY, WebUI, find_webui

DROP, MORE = 2.0, 6.0  # seconds
LITTLE, ASPECT = (512, 384), 4 / 3
NOISE = 3  # levels, as a standard deviation: what a sensor leaves, and what PNG packs badly

DROPPED = """async () => {
    const file = document.getElementById('bench_file').files[0];
    const data = new DataTransfer();
    data.items.add(file);
    const field = document.getElementById('ip2p_image'), canvas = document.getElementById('ip2p_paint');
    const shown = () => field.querySelector('[data-testid=image] img');
    const before = shown()?.src;
    canvas.width = canvas.height = 1;
    const begun = performance.now();
    field.querySelector('[data-testid=image]').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    const frame = () => new Promise(requestAnimationFrame);
    while (!(shown() && shown().src !== before && shown().complete && shown().naturalWidth && canvas.width > 1)) await frame();
    await shown().decode();
    await frame();
    await frame();
    return (performance.now() - begun) / 1000;
}"""
PRESSED = """async () => {
    const gallery = document.getElementById('ip2p_gallery'), strip = document.getElementById('ip2p_history_strip');
    const frame = () => new Promise(requestAnimationFrame);
    const shown = () => gallery.querySelector('.preview > img, .preview img');
    const newest = () => Array.from(strip.querySelectorAll('[data-tile]')).at(-1)?.dataset.tile;
    const [before, step] = [shown()?.src, newest()];
    const begun = performance.now(), since = () => (performance.now() - begun) / 1000;
    document.getElementById('ip2p_generate').click();
    while (!(shown() && shown().src !== before && shown().complete && shown().naturalWidth)) await frame();
    await shown().decode();
    await frame();
    await frame();
    const result = since();
    const size = [shown().naturalWidth, shown().naturalHeight];
    while (newest() === step) await frame();
    await frame();
    return [result, since(), ...size];
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    webui = find_webui()
    if webui is None:
        sys.exit("No WebUI was found: set SD_WEBUI_DIR to one.")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = SMALL.install(made(Path(folder) / "models"))
        host = WebUI(webui, Path(folder) / "data", "--ckpt-dir", checkpoint.parent, "--ckpt", checkpoint)
        try:
            host.wait()
            with chromium_running() as browser:
                tab = Tab(browser.new_context(viewport=WIDE).new_page(), host.url)
                return report(measured(tab, host, pictures(Path(folder), args.megapixels), args), args)
        finally:
            host.stop()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def pictures(folder: Path, megapixels: float) -> dict[str, Path]:
    """The files of a large photograph and of the same one small, by name."""
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    size = round(height * ASPECT), height
    with Image.open(REPOSITORY / "ip2p" / "examples" / "chelsea.jpg") as photo:
        pixels = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS), np.float32)
    noise = np.random.default_rng(0).normal(0, NOISE, pixels.shape)
    large = Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
    files = {"large": folder / "large.jpg", "small": folder / "small.jpg"}
    large.save(files["large"], quality=92)
    large.resize(LITTLE, Image.Resampling.LANCZOS).save(files["small"], quality=92)
    return files


def measured(tab: Tab, host: WebUI, files: dict[str, Path], args) -> dict[str, list[list[float]]]:
    """Of both pictures, for every pair the seconds until it can be painted on, until its result is shown, until all is done, and of CPU."""
    tab.page.evaluate("document.body.append(Object.assign(document.createElement('input'), {type: 'file', id: 'bench_file'}))")
    tab.set(prompt="make it winter", steps=args.steps, seed=1, text_scale=SMALL.defaults.text_scale, image_scale=SMALL.defaults.image_scale)
    tab.open_accordion("mask_accordion")
    sizes = {name: Image.open(file).size for name, file in files.items()}
    took: dict[str, list[list[float]]] = {name: [] for name in files}
    for i in range(args.pairs + 1):
        for name in sorted(files, reverse=bool(i % 2)):
            tab.page.locator("#bench_file").set_input_files(files[name])
            drop = tab.page.evaluate(DROPPED)
            stroke(tab)  # which it takes
            tab.page.wait_for_function("document.querySelector('#ip2p_mask textarea').value")
            tab["clear_mask"].click()
            before = cpu_seconds(host)
            result, done, *size = tab.page.evaluate(PRESSED)
            if tuple(size) != sizes[name] or tab.errors:
                raise SystemExit(f"The result is {size}, not {sizes[name]}: {tab.log} {tab.errors}")
            seconds = [drop, result, done, cpu_seconds(host) - before]
            if i:  # the first pair warms both up
                took[name].append(seconds)
            print(f"  {name} {i}:", *(f"{one:.2f}" for one in seconds), file=sys.stderr, flush=True)
    return took


def cpu_seconds(host: WebUI) -> float:
    """Of the WebUI, which is the child of the process that holds it."""
    child = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text(encoding="ascii").split()[0]
    fields = Path(f"/proc/{child}/stat").read_text(encoding="utf8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(took: dict[str, list[list[float]]], args) -> int:
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in took.items()}
    print(
        f"{args.megapixels:g} megapixels beside {LITTLE[0]}x{LITTLE[1]}, {args.steps} steps, medians of {args.pairs} pairs by turns, seconds"
    )
    print(f"{'':22}{'small':>8}{'large':>8}{'more':>8}{'limit':>8}")
    missed = 0
    lines = ("drop → paint", DROP), ("Generate → result", None), ("Generate → history", MORE), ("CPU of the WebUI", None)
    for place, (what, limit) in enumerate(lines):
        little, much = medians["small"][place], medians["large"][place]
        over = limit is not None and (much if place == 0 else much - little) > limit
        missed += over
        print(f"{what:22}{little:8.2f}{much:8.2f}{much - little:8.2f}{limit or '–':>8}{' missed' if over else ''}")
    busy = os.getloadavg()[0]
    if busy > 2.5:
        print(f"the machine was busy: load {busy:.1f} on {os.cpu_count()} cores")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
