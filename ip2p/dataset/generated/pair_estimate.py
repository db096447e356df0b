"""What a run of pairs would take, told before it is made."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise

import torch

from ...editor import timesteps_of
from .make_pairs import Counted, Wanted
from .text_to_image import CHANNELS, HALVES, Sampling, TextToImage

TIMED = 4  # steps, of which the first is not counted
BYTES_OF_PIXEL = 0.6  # of a photograph as JPEG of quality 100 at 512 pixels, the mean of 120


def estimated(wanted: Wanted, there: Counted, model: TextToImage) -> list[str]:
    """Lines for the terminal. Draws some steps of one batch of the first row, and throws them away. Raises EditError."""
    pairs = there.rows * wanted.samples
    steps = len(timesteps_of(wanted.sampling, model.prediction_type, model.device)[1])
    batch = min(wanted.batch, wanted.samples)
    step, decoding = measured(wanted, model, batch)
    hours = pairs * (steps * step / batch + 2 * decoding) / 3600
    return [
        f"rows       {there.rows:,}{f', and {len(there.bad):,} that cannot be used' if there.bad else ''}",
        f"pairs      {pairs:,}, {wanted.samples:,} of each row",
        f"UNet rows  {pairs * steps * 2 * HALVES:,}, {steps * 2 * HALVES:,} of each pair",
        f"hours      about {hours:,.1f} on one {model.device.type}, {pairs / hours:,.0f} pairs an hour: a step of {batch} pairs measured at {step:.3g} s",
        f"disk       about {pairs * 2 * wanted.sampling.size**2 * BYTES_OF_PIXEL / 1e6:,.0f} MB, at {BYTES_OF_PIXEL} bytes a pixel",
    ]


def measured(wanted: Wanted, model: TextToImage, batch: int) -> tuple[float, float]:
    """Seconds of a step of a batch, and of decoding a picture."""
    row = next(wanted.rows())
    clock: list[float] = []

    def tick() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        clock.append(time.perf_counter())

    sampling = Sampling(wanted.sampling.size, TIMED, wanted.sampling.sampler_name)
    model.latents((row.input, row.output), wanted.draws(row)[:batch], sampling, tick)
    side = wanted.sampling.size // model.pixels_to_a_latent
    with torch.inference_mode():
        latent = torch.zeros(CHANNELS, side, side, device=model.device)
        model.decode(latent)
        tick()
        model.decode(latent)
        tick()
    *steps, before, after = clock
    return statistics.median(later - earlier for earlier, later in pairwise(steps)), after - before
