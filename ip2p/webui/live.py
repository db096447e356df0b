"""Where the running edit acts, for the browser window that asked for it."""

from __future__ import annotations

from contextlib import contextmanager
from secrets import compare_digest

from PIL import Image

from modules import shared

from .. import images
from .denoiser import EditRun

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
