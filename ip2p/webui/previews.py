"""Live previews of models whose autoencoder is their own."""

from __future__ import annotations

from contextlib import contextmanager

from modules import sd_samplers_common

WEIGHTS_OF_STABLE_DIFFUSION_S = 83_653_863  # of its autoencoder, in every version of it


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
