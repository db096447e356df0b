"""A LoRA added to the weights of a model's networks, by diffusers' own loader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.loaders import StableDiffusionLoraLoaderMixin

from ..checkpoints.lora import Lora
from ..checkpoints.tensors import Weights
from ..errors import EditError
from ..files import why

NETWORKS = ("unet", "text_encoder")
ADAPTER = "lora"


class Loader(StableDiffusionLoraLoaderMixin):
    """What the loader needs of a pipeline."""

    hf_device_map = None

    def __init__(self, unet: Any, text_encoder: Any):
        self.unet, self.text_encoder = unet, text_encoder
        self.components = {"unet": unet, "text_encoder": text_encoder}


def fuse_lora(lora: Lora, unet: Any, text_encoder: Any) -> None:
    """Adds it to the weights, and leaves nothing else behind.

    Raises EditError for a file that can't be read or fits none of the networks' layers, and without peft.
    """
    try:
        import peft  # noqa: F401
    except ImportError as e:
        raise EditError("LoRAs need peft: pip install 'sd-webui-instruct-edit[lora]'.") from e
    with Weights(lora.file) as weights:
        state = {name: weights.read(name) for name in weights.tensors}
    loader = Loader(unet, text_encoder)
    try:
        with without_progress():
            loader.load_lora_weights(state, adapter_name=ADAPTER)
        fitting = [name for name in NETWORKS if name in loader.get_list_adapters()]
        if not fitting:
            raise ValueError("none of its layers is there")
        loader.fuse_lora(fitting, lora_scale=lora.weight, safe_fusing=True)
    except (ValueError, RuntimeError, KeyError, IndexError) as e:  # diffusers and peft raise these for what does not fit
        raise EditError(f"{lora.file} does not fit this model, it may be of another family or no LoRA: {why(e)}.") from e
    finally:
        loader.unload_lora_weights()


@contextmanager
def without_progress() -> Iterator[None]:
    """Within the block transformers shows no bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
