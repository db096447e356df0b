"""A latent diffusion model of Stable Diffusion's kind, ready: its networks, the texts that they are given, the pictures that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..checkpoints.clip import as_clip_reads
from ..errors import EditError
from ..pixels import to_levels

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CHUNK, NEAR_COMMA = 75, 20  # tokens between BOS and EOS; a chunk ends at a comma among its last 20, as in the WebUI
Own = TypeVar("Own", bound="DiffusionModel")


class DiffusionModel:
    """kind: what a model of this class is, with its article; channels: its network's inputs; baked_scales: text and image scale of a student
    (`scale_input.py`), None of another model. Raises EditError for a network with other inputs."""

    kind: str
    channels: int

    def __init__(
        self,
        unet: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        *,
        name: str = "model",
        prediction_type: str = "epsilon",
        baked_scales: tuple[float, float] | None = None,
    ):
        self.check_channels(name, unet.config.in_channels)
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self.name, self.prediction_type, self.baked_scales = name, prediction_type, baked_scales

    @classmethod
    def check_channels(cls, name: str, channels: int) -> None:
        """Raises EditError for a network with other inputs than a model of this class has."""
        if channels != cls.channels:
            raise EditError(f"“{name}” is not {cls.kind}: its network has {channels} input channels, not {cls.channels}.")

    @classmethod
    def load(cls: type[Own], model: str | Path, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> Own:
        """model: a diffusers folder, a single LDM file, a model's name on the Hugging Face hub, or `small`, the checkpoint that
        comes with the package; only a name on the hub, which `official` stands for, asks the network.

        Without a device CUDA where there is one; without a dtype fp16 there and fp32 on the CPU. Raises EditError.
        """
        from ..checkpoints.load import load_networks

        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if isinstance(dtype, str):
            dtype = DTYPES.get(dtype, dtype)
        dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
        if not isinstance(dtype, torch.dtype):
            raise EditError(f"There is no precision “{dtype}”. Known ones: {', '.join(DTYPES)}.")
        return cls(**load_networks(str(model))).to(device, dtype)

    def to(self: Own, device: str | torch.device, dtype: torch.dtype) -> Own:
        for network in (self.unet, self.vae, self.text_encoder):
            torch.nn.Module.to(network, device, dtype)  # diffusers' own warns of layers kept in fp32, of which these have none
        return self

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def tokens(self, text: str) -> list[list[int]]:
        """Token ids in chunks of 77, BOS and EOS included; the empty text has one chunk."""
        tokenizer = self.tokenizer
        ids = tokenizer(as_clip_reads(text), add_special_tokens=False, verbose=False).input_ids
        comma = tokenizer.convert_tokens_to_ids(",</w>")
        chunks: list[list[int]] = []
        while ids or not chunks:
            end = CHUNK
            if len(ids) > CHUNK and ids[CHUNK] != comma and comma in ids[CHUNK - NEAR_COMMA : CHUNK]:
                end -= ids[CHUNK - 1 :: -1].index(comma)
            chunk, ids = ids[:end], ids[end:]
            padding = [tokenizer.pad_token_id] * (CHUNK - len(chunk))
            chunks.append([tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id, *padding])
        return chunks

    def encode_text(self, text: str) -> torch.Tensor:
        """text → (77·chunks, width): each chunk encoded alone, then put one after the other."""
        return self.encode_chunks(self.tokens(text))

    def encode_chunks(self, chunks: list[list[int]]) -> torch.Tensor:
        ids = torch.tensor(chunks, device=self.device)
        return self.text_encoder(input_ids=ids).last_hidden_state.flatten(0, 1)

    def decode(self, latent: torch.Tensor) -> np.ndarray:
        """latent: (4, h, w), scaled → (H, W, 3) in [0, 255]."""
        pixels = self.vae.decode(latent[None].to(self.vae.dtype) / self.vae.config.scaling_factor).sample[0]
        if not pixels.isfinite().all():
            raise EditError("The picture came out as not-a-number: this model needs fp32 or bf16.")
        return to_levels(pixels)
