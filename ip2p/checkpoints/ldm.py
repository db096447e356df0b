"""The configuration of an LDM checkpoint, the WebUI's yaml, from and to the configurations of a diffusers folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from ..errors import EditError
from ..files import why
from .recognise import EDIT_CHANNELS

GROUPS = 32  # of every GroupNorm in LDM's networks
MAX_YAML, MAX_SIZE, MAX_LEVELS = 1_000_000, 1 << 20, 16  # characters of a configuration, channels of a layer, levels of a network
AUTOENCODER = "ldm.models.autoencoder.AutoencoderKL"
AUTOENCODER_OF_GROUPS = "ip2p.webui.autoencoder.AutoencoderKL"  # LDM's with another number of groups


def read_yaml(path: Path) -> dict:
    """The yaml's `model.params`. Raises EditError when it is no configuration of an LDM checkpoint."""
    try:
        text = path.read_text(encoding="utf8")
        if len(text) > MAX_YAML or any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("it is too long or refers to itself")
        content: Any = OmegaConf.to_container(OmegaConf.create(text))
        params = content["model"]["params"]
        _ = params["unet_config"]["params"], params["first_stage_config"]["params"]["ddconfig"], params.get("scale_factor")
        return params
    except Exception as e:  # a file of any content
        raise EditError(f"{path} is no configuration of an SD 1.x checkpoint: {why(e)}.") from e


def sizes(values: dict, *names: str) -> list[int]:
    """Raises EditError unless they are whole numbers that a network can have."""
    for name in names:
        if type(values[name]) is not int or not 0 < values[name] <= MAX_SIZE:
            raise EditError(f"The yaml's {name} is {str(values[name])[:50]}, which no network has.")
    return [values[name] for name in names]


def levels_of(values: dict, name: str) -> list[int]:
    """How many times the first level's channels each level has. Raises EditError unless they are a few whole numbers."""
    if not isinstance(values[name], list) or not 0 < len(values[name]) <= MAX_LEVELS:
        raise EditError(f"The yaml's {name} is {str(values[name])[:50]}, which no network has.")
    return [sizes({name: value}, name)[0] for value in values[name]]


def number(values: dict, name: str, default: float) -> float:
    """A finite number of the yaml. Raises EditError for anything else."""
    value = values.get(name, default)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise EditError(f"The yaml's {name} is {str(value)[:50]}, which is no number.")
    return value


def standard(in_channels: int) -> dict:
    """`model.params` of SD 1.x, or of the published edit model when in_channels is 8."""
    unet = {
        "in_channels": in_channels, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], "attention_head_dim": 8, "cross_attention_dim": 768,
    }  # fmt: skip
    vae = {"in_channels": 3, "out_channels": 3, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4}
    return to_yaml(unet, vae, {})["model"]["params"]


def unet_config(params: dict) -> dict:
    """diffusers' UNet2DConditionModel for `model.params`. Raises EditError for what SD 1.x does not have."""
    given = params["unet_config"]["params"]
    try:
        multiples = levels_of(given, "channel_mult")
        attends = [2**level in given["attention_resolutions"] for level in range(len(multiples))]
        (width,) = sizes(given, "model_channels")
        sizes(given, "in_channels", "out_channels", "context_dim", "num_heads")
        if not isinstance(given["num_res_blocks"], int) or given.get("num_classes") or given.get("use_linear_in_transformer"):
            raise EditError("Only SD 1.x checkpoints can be converted, and the yaml beside this one is of another family.")
        return {
            "_class_name": "UNet2DConditionModel",
            "sample_size": 64,
            "in_channels": given["in_channels"],
            "out_channels": given["out_channels"],
            "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
            "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
            "block_out_channels": [width * multiple for multiple in multiples],
            "layers_per_block": given["num_res_blocks"],
            "transformer_layers_per_block": given.get("transformer_depth", 1),
            "cross_attention_dim": given["context_dim"],
            "attention_head_dim": given["num_heads"],  # heads, in spite of its name
        }
    except (KeyError, TypeError, AttributeError) as e:
        raise EditError(f"The yaml's unet_config lacks or misstates {why(e)}.") from e


def vae_config(params: dict) -> dict:
    """diffusers' AutoencoderKL for `model.params`."""
    given = params["first_stage_config"]["params"]["ddconfig"]
    try:
        groups = norm_groups(params)
        multiples = levels_of(given, "ch_mult")
        levels = len(multiples)
        (width,) = sizes(given, "ch")
        sizes(given, "in_channels", "out_ch", "num_res_blocks", "z_channels")
        if given.get("attn_resolutions"):
            raise EditError("A VAE with attn_resolutions can't be converted: diffusers' has attention in its middle only.")
        return {
            "_class_name": "AutoencoderKL",
            "sample_size": 512,
            "in_channels": given["in_channels"],
            "out_channels": given["out_ch"],
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
            "block_out_channels": [width * multiple for multiple in multiples],
            "layers_per_block": given["num_res_blocks"],
            "latent_channels": given["z_channels"],
            "scaling_factor": number(params, "scale_factor", 0.18215),
            **({} if groups == GROUPS else {"norm_num_groups": groups}),
        }
    except (KeyError, TypeError, AttributeError) as e:
        raise EditError(f"The yaml's first_stage_config lacks or misstates {why(e)}.") from e


def norm_groups(params: dict) -> int:
    """Of the VAE's GroupNorms."""
    values = {"norm_groups": GROUPS, **params["first_stage_config"]["params"]}
    return sizes(values, "norm_groups")[0]


def scheduler_config(params: dict) -> dict:
    """Euler ancestral, as the paper samples, over the checkpoint's noise levels."""
    return {
        "_class_name": "EulerAncestralDiscreteScheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": number(params, "linear_start", 0.00085),
        "beta_end": number(params, "linear_end", 0.012),
        "num_train_timesteps": params.get("timesteps", 1000),
        "prediction_type": "v_prediction" if params.get("parameterization") == "v" else "epsilon",
        "steps_offset": 1,
    }


def to_yaml(unet: dict, vae: dict, scheduler: dict, clip: str | None = None) -> dict:
    """The WebUI's configuration for diffusers' configurations. clip: a folder with the text encoder's, None for CLIP ViT-L/14.

    Raises EditError for what LDM's SD 1.x networks cannot be.
    """
    check(unet, vae)
    edits = unet["in_channels"] == EDIT_CHANNELS
    predicts_v = scheduler.get("prediction_type") == "v_prediction"
    levels, vae_levels = unet["block_out_channels"], vae["block_out_channels"]
    params = {
        "linear_start": scheduler.get("beta_start", 0.00085),
        "linear_end": scheduler.get("beta_end", 0.012),
        "num_timesteps_cond": 1,
        "log_every_t": 200,
        "timesteps": scheduler.get("num_train_timesteps", 1000),
        "first_stage_key": "edited" if edits else "jpg",
        "cond_stage_key": "edit" if edits else "txt",
        "image_size": 16 if edits else 64,
        "channels": vae["latent_channels"],
        "cond_stage_trainable": False,
        "conditioning_key": "hybrid" if edits else "crossattn",
        "monitor": "val/loss_simple_ema",
        "scale_factor": vae.get("scaling_factor", 0.18215),
        "use_ema": False,
        "parameterization": "v" if predicts_v else "eps",
    }
    params["unet_config"] = {
        "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
        "params": {
            "image_size": 32,  # unused
            "in_channels": unet["in_channels"],
            "out_channels": unet["out_channels"],
            "model_channels": levels[0],
            "attention_resolutions": [2**i for i, kind in enumerate(unet["down_block_types"]) if kind.startswith("CrossAttn")][::-1],
            "num_res_blocks": unet["layers_per_block"],
            "channel_mult": [width // levels[0] for width in levels],
            "num_heads": unet["attention_head_dim"],
            "use_spatial_transformer": True,
            "transformer_depth": unet.get("transformer_layers_per_block", 1),
            "context_dim": unet["cross_attention_dim"],
            "use_checkpoint": False,
            "legacy": False,
        },
    }
    ddconfig = {
        "double_z": True,
        "z_channels": vae["latent_channels"],
        "resolution": 256,
        "in_channels": vae["in_channels"],
        "out_ch": vae["out_channels"],
        "ch": vae_levels[0],
        "ch_mult": [width // vae_levels[0] for width in vae_levels],
        "num_res_blocks": vae["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    groups = vae.get("norm_num_groups", GROUPS)
    params["first_stage_config"] = {
        "target": AUTOENCODER if groups == GROUPS else AUTOENCODER_OF_GROUPS,
        "params": {
            **({} if groups == GROUPS else {"norm_groups": groups}),
            "embed_dim": vae["latent_channels"],
            "monitor": "val/rec_loss",
            "ddconfig": ddconfig,
            "lossconfig": {"target": "torch.nn.Identity"},
        },
    }
    params["cond_stage_config"] = {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"}
    if clip:
        params["cond_stage_config"]["params"] = {"version": clip}
    # The WebUI's own class for edit models does not know v-prediction.
    own = edits and not predicts_v
    return {
        "model": {
            "base_learning_rate": 1e-4,
            "target": ("modules.models.diffusion.ddpm_edit" if own else "ldm.models.diffusion.ddpm") + ".LatentDiffusion",
            "params": params,
        }
    }


def check(unet: dict, vae: dict) -> None:
    """Raises EditError for networks that LDM's SD 1.x code has no settings for."""
    for name, config in (("UNet", unet), ("VAE", vae)):
        widths = config["block_out_channels"]
        if any(width % widths[0] for width in widths):
            raise EditError(f"The {name}'s channels {widths} are no multiples of the first level's.")
        groups = config.get("norm_num_groups", GROUPS)
        if name == "UNet" and groups != GROUPS:
            raise EditError(f"The UNet has {groups} normalisation groups; a WebUI's checkpoint has {GROUPS}.")
        if groups != GROUPS and any(width % GROUPS or width % groups for width in widths):
            raise EditError(f"The VAE's channels {widths} must be multiples of {GROUPS} and of its {groups} normalisation groups.")
    if not all(isinstance(unet[key], int) for key in ("attention_head_dim", "layers_per_block", "cross_attention_dim")):
        raise EditError("Only SD 1.x models can be converted, and this UNet is of another family.")
    if unet.get("use_linear_projection") or unet.get("addition_embed_type") or unet.get("class_embed_type"):
        raise EditError("Only SD 1.x models can be converted, and this UNet is of another family.")
