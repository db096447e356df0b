"""Configurations that the host would not find by itself.

Edit checkpoints of SD 2.x and SDXL: the host recognises one of SD 1.x only, and for the others builds the plain network, into
which the weights do not fit. A `.yaml` beside the checkpoint still comes first. And in that yaml the place of the text encoder's
folder, which lies beside the checkpoint and moves with it.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from modules import sd_models_config

from ..checkpoints.recognise import CLIP_PLACE, EDIT_CHANNELS, FIRST_LAYER

SD2_TEXT = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"
SDXL_TEXT = "conditioner.embedders.1.model.ln_final.weight"


def install() -> None:
    """Puts `guess` before the host's own guess and `find` around its search; once, however often the host reloads its scripts."""
    stock = sd_models_config.guess_model_config_from_state_dict
    if getattr(stock, "instruct_edit", False):
        return

    def guess(state_dict, filename):
        return edit_config(state_dict) or stock(state_dict, filename)

    search = sd_models_config.find_checkpoint_config

    def find(state_dict, info):
        return with_text_encoder(search(state_dict, info), info)

    guess.instruct_edit = True
    sd_models_config.guess_model_config_from_state_dict = guess
    sd_models_config.find_checkpoint_config = find


def with_text_encoder(config: str, info) -> str:
    """Path of the configuration that names the folder `.clip` beside the checkpoint, where there is one; else `config` itself."""
    clip = info and Path(info.filename).with_suffix(".clip").resolve()
    if not clip or not clip.is_dir() or Path(config) != Path(info.filename).with_suffix(".yaml"):
        return config
    content = OmegaConf.load(config)
    if OmegaConf.select(content, CLIP_PLACE) == str(clip) or OmegaConf.select(content, CLIP_PLACE.partition(".params.v")[0]) is None:
        return config  # SDXL's text encoders are not named there
    OmegaConf.update(content, CLIP_PLACE, str(clip), force_add=True)
    path = Path(temporary()) / f"{clip.stem}.yaml"
    OmegaConf.save(content, path)
    return str(path)


def edit_config(state_dict) -> str | None:
    """Path of the configuration of an SD 2.x or SDXL edit checkpoint; None for every other, which the host knows."""
    first = state_dict.get(FIRST_LAYER)
    if first is None or first.shape[1] != EDIT_CHANNELS:
        return None
    if SDXL_TEXT in state_dict:
        return write_config("sdxl")
    if SD2_TEXT in state_dict:
        return write_config("sd2")
    return None


@cache
def write_config(kind: str) -> str:
    """The host's configuration of the plain model, with the eight channels of its edit model."""
    if kind == "sdxl":
        config = OmegaConf.load(sd_models_config.config_sdxl)
        config.model.params.network_config.params.in_channels = EDIT_CHANNELS
    else:
        config = OmegaConf.load(sd_models_config.config_sd2)
        config.model.params.unet_config.params.in_channels = EDIT_CHANNELS
        config.model.params.update(conditioning_key="hybrid", cond_stage_key="edit", first_stage_key="edited")
    path = Path(temporary()) / f"{kind}-edit.yaml"
    OmegaConf.save(config, path)
    return str(path)


@cache
def temporary() -> str:
    """A folder until the host ends."""
    folder = tempfile.mkdtemp(prefix="instruct-edit-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
