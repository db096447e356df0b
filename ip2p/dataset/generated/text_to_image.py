"""A text-to-image model that draws two captions from the same noise: the loop over the steps, both pictures of several samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange

from ...editor import AUTOMATIC, DRAWING, OUT_OF_MEMORY, DiffusionModel, timesteps_of
from ...runners import EndsTheRun, on_device
from .draws import Draw
from .prompt_to_prompt import SharedAttention, shared_attention, shares_at, source_rows

CHANNELS = 4  # of a latent
HALVES = 2  # of the guidance: without the caption and with it


@dataclass(frozen=True)
class Sampling:
    """size: of both sides in pixels, a multiple of 8; the rest as in `Edit`."""

    size: int = 512
    steps: int = 100
    sampler_name: str = "Euler a"
    scheduler = AUTOMATIC
    denoising_strength = 1.0  # from noise alone


class TextToImage(DiffusionModel):
    """A text-to-image model, ready."""

    kind, channels = "a text-to-image model", CHANNELS

    @torch.inference_mode()
    def draw_pairs(
        self, captions: tuple[str, str], draws: Sequence[Draw], sampling: Sampling, on_step: Callable[[], None] = lambda: None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The pictures of both captions, each (size, size, 3) in [0, 255], of every draw.

        on_step: is called after each step. Raises EditError where a picture is not a number, EndsTheRun where the memory is too small, and
        EndsTheProcess.
        """
        try:
            with on_device():
                latents = self.latents(captions, draws, sampling, on_step)
                return [(self.decode(first), self.decode(second)) for first, second in latents]
        except torch.OutOfMemoryError as e:
            raise EndsTheRun(f"{OUT_OF_MEMORY.partition(':')[0]}: choose a smaller --size or --batch.") from e

    @torch.inference_mode()
    def latents(
        self, captions: tuple[str, str], draws: Sequence[Draw], sampling: Sampling, on_step: Callable[[], None] = lambda: None
    ) -> torch.Tensor:
        """→ (draws, 2, 4, h, w), scaled, in float32 whatever the networks' precision."""
        scheduler, timesteps = timesteps_of(sampling, self.prediction_type, self.device)
        # On the CPU and one for every picture: both pictures of a sample get the same noise, at the start and at every step.
        generators = [torch.Generator().manual_seed(draw.seed) for _ in range(2) for draw in draws]
        options = {"generator": generators} if sampling.sampler_name in DRAWING else {}
        side = sampling.size // self.pixels_to_a_latent
        noise = torch.stack([torch.randn(CHANNELS, side, side, generator=generator) for generator in generators])
        x = noise.to(self.device) * scheduler.init_noise_sigma
        texts = self.texts(captions).repeat_interleave(len(draws), 0)
        guidance = torch.tensor([draw.guidance for draw in draws], device=self.device).repeat(2)[:, None, None, None]
        with shared_attention(self.unet) as attention:
            for step, t in enumerate(timesteps):
                share_at_step(attention, [shares_at(step, len(timesteps), draw.p) for draw in draws], self.device)
                uncond, full = self.predictions(scheduler.scale_model_input(x, t), t, texts).chunk(HALVES)
                x = scheduler.step(uncond + guidance * (full - uncond), t, x, **options).prev_sample
                on_step()
        return rearrange(x, "(pictures draws) c h w -> draws pictures c h w", pictures=2)

    def predictions(self, x: torch.Tensor, t: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """x: (first pictures, then second ones) → of each half of the guidance theirs, in float32."""
        rows = x.to(self.dtype).repeat(HALVES, 1, 1, 1)
        return self.unet(rows, t.to(x.device).expand(len(rows)), encoder_hidden_states=texts).sample.float()

    def texts(self, captions: tuple[str, str]) -> torch.Tensor:
        """Of a pair's rows (u₀, u₁, c₀, c₁): (4, tokens, width). A caption that fills fewer chunks than the other is followed by empty ones, the
        empty text too."""
        (empty,) = self.tokens("")
        chunks = [self.tokens(text) for text in ("", "", *captions)]
        longest = max(map(len, chunks))
        return torch.stack([self.encode_chunks([*some, *[empty] * (longest - len(some))]) for some in chunks])

    @property
    def pixels_to_a_latent(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)


def share_at_step(attention: SharedAttention, shares: Sequence[bool], device: torch.device) -> None:
    source = source_rows(shares, HALVES)
    attention.source = None if source is None else source.to(device)
