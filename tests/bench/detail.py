"""Seconds of one core and memory of bringing a result to the photograph's size, against enlarging it as results were enlarged before.

    python tests/bench/detail.py [--pairs 7] [--megapixels 12,24,64] [--longest-side 512]

One thread of everything, both ways interleaved, medians of the pairs. The photograph is drawn; its content costs nothing and changes nothing.
Ends with 1 where a limit is missed: 4 s at 12 megapixels, 7 s at 24, and at every size less memory than enlarging.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ip2p.detail import transfer

SECONDS = {12: 4.0, 24: 7.0}
MEMORY, ASPECT = "--memory", 4 / 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--megapixels", default="12,24,64")
    parser.add_argument("--longest-side", type=int, default=512, help="of the result")
    parser.add_argument(MEMORY, metavar="WAY", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes = [int(size) for size in args.megapixels.split(",")]
    if args.memory:
        print(growth(args.memory, *pictures(sizes[0], args.longest_side)))
        return 0
    missed = 0
    print(f"result of {args.longest_side} pixels, one thread, medians of {args.pairs} interleaved pairs")
    print(f"{'megapixels':>10}{'enlarging s':>13}{'transfer s':>12}{'ratio':>7}{'limit s':>9}{'enlarging MiB':>15}{'transfer MiB':>14}")
    for size in sizes:
        photograph, result, decoded = pictures(size, args.longest_side)
        pairs = []
        for i in range(args.pairs + 1):
            order = ("enlarging", "transfer") if i % 2 else ("transfer", "enlarging")
            pairs.append({way: seconds(way, photograph, result, decoded) for way in order})
        pairs = pairs[1:]  # the first warms both up
        took = {way: statistics.median(pair[way] for pair in pairs) for way in pairs[0]}
        ratio = statistics.median(pair["transfer"] / pair["enlarging"] for pair in pairs)
        grown = {way: memory_of(way, size, args.longest_side) for way in took}
        limit = SECONDS.get(size)
        over = (limit is not None and took["transfer"] > limit) or grown["transfer"] >= grown["enlarging"]
        missed += over
        print(
            f"{size:10}{took['enlarging']:13.2f}{took['transfer']:12.2f}{ratio:7.2f}{limit or '–':>9}"
            f"{grown['enlarging']:15.0f}{grown['transfer']:14.0f}{' missed' if over else ''}"
        )
    return 1 if missed else 0


def pictures(megapixels: int, longest_side: int) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """(photograph, result, decoded), as for `transfer`."""
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    rng = np.random.default_rng(0)
    few = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
    photograph = few.resize((round(height * ASPECT), height), Image.Resampling.BICUBIC)
    small = photograph.resize((longest_side, round(longest_side / ASPECT)), Image.Resampling.LANCZOS)
    decoded = np.asarray(small, np.float32)
    return photograph, decoded * np.float32((0.8, 0.9, 1.0)) + 20, decoded


def enlarged(photograph: Image.Image, result: np.ndarray) -> Image.Image:
    levels = [Image.fromarray(level).resize(photograph.size, Image.Resampling.LANCZOS) for level in np.moveaxis(result, 2, 0)]
    return Image.fromarray((np.stack([np.asarray(level) for level in levels], -1).clip(0, 255) + 0.5).astype(np.uint8))


def run(way: str, photograph: Image.Image, result: np.ndarray, decoded: np.ndarray) -> Image.Image:
    return transfer(photograph, result, decoded) if way == "transfer" else enlarged(photograph, result)


def seconds(way: str, *given) -> float:
    begun = time.process_time()
    run(way, *given)
    return time.process_time() - begun


def growth(way: str, *given) -> float:
    """MiB by which the process grew at its peak."""
    before = peak()
    run(way, *given)
    return peak() - before


def peak() -> float:
    return int(next(line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")).split()[1]) / 1024


def memory_of(way: str, megapixels: int, longest_side: int) -> float:
    """`growth` in a process of its own."""
    command = [sys.executable, __file__, MEMORY, way, "--megapixels", str(megapixels), "--longest-side", str(longest_side)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    sys.exit(main())
