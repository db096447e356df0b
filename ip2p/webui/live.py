"""Where the running edit acts, for the browser window that asked for it."""

from __future__ import annotations

from contextlib import contextmanager
from secrets import compare_digest

from PIL import Image

from modules import sd_samplers_common, shared

from .. import images
from .denoiser import EditRun

WEIGHTS_OF_STABLE_DIFFUSION_S = 83_653_863  # of its autoencoder, in every version of it

# The edit in the sampler, the browser window that asked for it, and how its picture lies in it.
_running: tuple[EditRun, str, images.Frame] | None = None


@contextmanager
def live(run: EditRun, window: str, frame: images.Frame):
    """Within the block `live_heat_map` shows this run to the browser window that asked for it."""
    global _running
    _running = run, window, frame
    try:
        yield
    finally:
        _running = None


@contextmanager
def own_colours(sd_model):
    """Within the block previews are decoded by the model's own autoencoder where that is not Stable Diffusion's, for which alone the
    host's quicker ways are made: they would show false colours."""
    stock = sd_samplers_common.samples_to_images_tensor
    if sum(weight.numel() for weight in sd_model.first_stage_model.parameters()) == WEIGHTS_OF_STABLE_DIFFUSION_S:
        yield
        return
    sd_samplers_common.samples_to_images_tensor = lambda sample, approximation=None, model=None: stock(sample, approximation or 0, model)
    try:
        yield
    finally:
        sd_samplers_common.samples_to_images_tensor = stock


def live_heat_map(window: str, longest_side: int = 256) -> Image.Image | None:
    """Where the running edit acts on its first picture so far, to be laid over that picture: RGBA, nothing of the picture in it.

    None when no edit of this browser window runs, none of its steps needed both passes, or live previews are off.
    """
    running = _running if shared.opts.live_previews_enable else None
    if running is None or not window or not compare_digest(running[1].encode(), window.encode(errors="replace")):
        return None
    run, _, frame = running
    heat = run.heat_of(0)
    if heat is None:
        return None
    layer = frame.cut(images.heat_layer(heat.cpu().numpy(), frame.size))
    layer.thumbnail((longest_side, longest_side))
    return layer
