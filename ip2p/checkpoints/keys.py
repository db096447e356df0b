"""What a tensor is called in an LDM checkpoint and in diffusers: read off diffusers' own conversion by tagging what goes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from .recognise import TEXT_1, UNET, VAE

RESNET = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")
VAE_RESNET = ("norm1", "conv1", "norm2", "conv2", "nin_shortcut")
VAE_ATTENTION = ("norm", "q", "k", "v", "proj_out")
ATTENTION = tuple(f"{attn}.{layer}" for attn in ("attn1", "attn2") for layer in ("to_q", "to_k", "to_v", "to_out.0"))
TRANSFORMER = (*ATTENTION, "norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2")
# What the attention of a VAE is called in folders that diffusers wrote before version 0.18.
FORMER_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
TEXT_PREFIX = "text_model."  # which transformers 5 dropped from the module and the WebUI needs
POSITIONS = TEXT_1 + TEXT_PREFIX + "embeddings.position_ids"


class Name(NamedTuple):
    """A tensor's name in LDM. linear: there a 1×1 convolution (o, i, 1, 1), in diffusers (o, i)."""

    ldm: str
    linear: bool = False


def unet_layers(config: dict) -> Iterator[str]:
    """Every layer that LDM's UNetModel of these sizes may have; some of them it does not, such as shortcuts between equal widths.

    config: diffusers'. Blocks are numbered as in `openaimodel.py`: a downsampling is an input block, an upsampling the
    end of an output block.
    """
    layers, depth = config["layers_per_block"], config.get("transformer_layers_per_block", 1)

    def block(place: str, attends: bool) -> Iterator[str]:
        yield from (f"{place}.0.{layer}" for layer in RESNET)
        if attends:
            yield from transformer(f"{place}.1")

    def transformer(place: str) -> Iterator[str]:
        yield from (f"{place}.{layer}" for layer in ("norm", "proj_in", "proj_out"))
        yield from (f"{place}.transformer_blocks.{i}.{layer}" for i in range(depth) for layer in TRANSFORMER)

    yield from ("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2")
    number = 1
    for level, kind in enumerate(config["down_block_types"]):
        for _ in range(layers):
            yield from block(f"input_blocks.{number}", kind.startswith("CrossAttn"))
            number += 1
        if level < len(config["down_block_types"]) - 1:
            yield f"input_blocks.{number}.0.op"
            number += 1
    yield from (f"middle_block.{i}.{layer}" for i in (0, 2) for layer in RESNET)
    yield from transformer("middle_block.1")
    number = 0
    for level, kind in enumerate(config["up_block_types"]):
        attends = kind.startswith("CrossAttn")
        for layer in range(layers + 1):
            yield from block(f"output_blocks.{number}", attends)
            if layer == layers and level < len(config["up_block_types"]) - 1:
                yield f"output_blocks.{number}.{1 + attends}.conv"
            number += 1


def vae_layers(config: dict) -> Iterator[str]:
    """Every layer that LDM's AutoencoderKL of these sizes may have. config: diffusers'."""
    layers, last = config["layers_per_block"], len(config["block_out_channels"]) - 1
    yield from ("quant_conv", "post_quant_conv")
    for half, side, scaling, more in (("encoder", "down", "downsample", 0), ("decoder", "up", "upsample", 1)):
        yield from (f"{half}.{layer}" for layer in ("conv_in", "norm_out", "conv_out"))
        yield from (f"{half}.mid.block_{i}.{layer}" for i in (1, 2) for layer in VAE_RESNET)
        yield from (f"{half}.mid.attn_1.{layer}" for layer in VAE_ATTENTION)
        for level in range(last + 1):
            yield from (f"{half}.{side}.{level}.block.{i}.{layer}" for i in range(layers + more) for layer in VAE_RESNET)
            if level != (0 if more else last):
                yield f"{half}.{side}.{level}.{scaling}.conv"


def names_in_ldm(unet: dict, vae: dict) -> tuple[dict[str, Name], dict[str, Name]]:
    """diffusers' name → LDM's, of the UNet and of the VAE with these configurations; more than there are, see `unet_layers`.

    Every possible LDM tensor is made a small one that holds its own number; where diffusers' conversion puts the number is
    its name there, and what it does to the shape is what it does to the weight.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    def tagged(prefix: str, layers: Iterator[str], convert: Callable[[dict, dict], dict], config: dict) -> dict[str, Name]:
        names = [f"{prefix}{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
        tags = {name: torch.full((1, 1, 1, 1) if name.endswith("weight") else (1,), i) for i, name in enumerate(names)}
        tags |= {name: torch.tensor([i]) for i, name in enumerate(names) if "norm" in name}
        return {name: Name(names[int(tag)], tag.ndim == 2) for name, tag in convert(tags, config).items()}

    return (
        tagged(UNET, unet_layers(unet), convert_ldm_unet_checkpoint, unet),
        tagged(VAE, vae_layers(vae), convert_ldm_vae_checkpoint, vae),
    )


def text_name_in_ldm(name: str) -> Name:
    """transformers' name of a CLIP text model's tensor, with or without its prefix → LDM's."""
    return Name(TEXT_1 + TEXT_PREFIX + name.removeprefix(TEXT_PREFIX))


def todays_name(name: str) -> str:
    """diffusers' name of a VAE's tensor, as it is since version 0.18."""
    for former, today in FORMER_NAMES.items():
        name = name.replace(former, today)
    return name


def ema_name(name: str) -> str:
    """Of a UNet's tensor in LDM: where its exponential moving average is kept, the dots left out (LDM's `ema.py`)."""
    return "model_ema." + name.removeprefix("model.").replace(".", "")
