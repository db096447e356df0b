"""What each stage minimises: modules whose forward takes a batch of samples and gives the mean loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler
from einops import rearrange, reduce, repeat
from torch import nn
from torch.nn import functional as F

from ..editor import TRAINED
from ..scorers.clip_scorer import MEAN
from ..scorers.clip_scorer import STD as DEVIATION
from ..scorers.efficientnet import Lite0
from .cache import STD
from .config import Stage
from .networks import Networks

SCHEDULE: dict[str, Any] = {**TRAINED}


class AutoencoderLoss(nn.Module):
    """Reconstruction and KL divergence (Rombach et al., arXiv 2112.10752, appendix G), without a discriminator."""

    def __init__(self, networks: Networks, stage: Stage):
        super().__init__()
        self.vae = networks.vae
        self.stage = stage
        if stage.decoder_only:
            for frozen in (self.vae.encoder, self.vae.quant_conv):
                frozen.requires_grad_(False)
        if stage.perceptual:
            perceptual_network(torch.device("cpu"))  # a missing package is reported before the first step

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        pixels = batch["pixels"]
        posterior = self.vae.encode(pixels).latent_dist
        _, noises = noise_of(batch["seed"], posterior.mean.shape[1:], 1)
        noise = noises[:, 0].to(pixels)
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        stage = self.stage
        loss = stage.l1 * F.l1_loss(decoded, pixels) + stage.l2 * F.mse_loss(decoded, pixels)
        if stage.edges:
            loss = loss + stage.edges * (edges_loss(decoded, pixels, -1) + edges_loss(decoded, pixels, -2))
        if stage.coarse:
            loss = loss + stage.coarse * F.l1_loss(F.avg_pool2d(decoded, 8), F.avg_pool2d(pixels, 8))
        if stage.perceptual:
            loss = loss + stage.perceptual * perceptual_loss(decoded, pixels)
        return loss + stage.kl * posterior.kl().mean() / pixels[0].numel()


def edges_loss(a: torch.Tensor, b: torch.Tensor, axis: int) -> torch.Tensor:
    """L1 between the differences of neighbouring pixels."""
    return F.l1_loss(a.diff(dim=axis), b.diff(dim=axis))


def perceptual_loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """LPIPS's form (Zhang et al., arXiv 1801.03924, eq. 1) without its learned weights, as `evaluation` measures it.

    a, b: (n, 3, h, w) in [-1, 1].
    """
    one, other = (perceptual_network(x.device).layers_of((x * 127.5 + 0.5) / 128) for x in (a, b))  # (p − 127) / 128 of p in [0, 255]
    distances = [(x - y).square().sum(1).mean() for x, y in zip(one, other)]
    return sum(distances[1:], distances[0]) / len(distances)


def perceptual_network(device: torch.device) -> Lite0:
    """The network whose layers the perceptual distance compares. Raises ImportError without its packages."""
    return Lite0.on(device)


class TextLoss(nn.Module):
    """Which kind of edit, with which parameter, a phrasing asks for: cross-entropy of a linear classifier at every position from the
    end of the text on, which are most of those that a UNet attends to.

    An edit model that starts from nothing learns to keep the picture long before it reads; with words that differ it reads at once.
    """

    def __init__(self, networks: Networks, kinds: int):
        super().__init__()
        self.text_encoder, self.end = networks.text_encoder, networks.tokenizer.eos_token_id
        self.reading = nn.Linear(self.text_encoder.config.hidden_size, kinds)  # the name is stored in states

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        tokens = batch["tokens"]
        ended = tokens == self.end
        logits = self.reading(self.text_encoder(input_ids=tokens).last_hidden_state[ended].float())
        return F.cross_entropy(logits, repeat(batch["kind"], "b -> b tokens", tokens=tokens.shape[1])[ended])


class ClipLoss(nn.Module):
    """Of all pictures and captions of a batch, which belong together: the mean of the cross-entropies over rows and over columns of their
    scaled similarities (Radford et al., arXiv 2103.00020, figure 3). Pictures of one caption belong to each of its copies alike."""

    def __init__(self, networks: Networks):
        super().__init__()
        self.clip, self.end = networks.clip, networks.tokenizer.eos_token_id

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        pixels, tokens = batch["pixels"], batch["tokens"]
        tokens = tokens[:, : int((tokens != self.end).sum(1).max()) + 1]  # what follows the end of a text is not looked at
        mean, deviation = (rearrange(torch.tensor(x, device=pixels.device), "c -> c 1 1") for x in (MEAN, DEVIATION))
        logits = self.clip(input_ids=tokens, pixel_values=((pixels + 1) / 2 - mean) / deviation).logits_per_text.float()
        same = (tokens[:, None] == tokens[None]).all(-1).float()
        wanted = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2


class DenoisingLoss(nn.Module):
    """‖ε − e(z_t, E(c_I), c_T)‖² (paper, eq. 2); without an original picture in the batch, that of text to image.

    The target is drawn from the posterior and scaled; the condition is its mode, unscaled. Vae and, unless it is trained,
    text encoder are frozen.
    """

    def __init__(self, networks: Networks, stage: Stage):
        super().__init__()
        self.stage = stage
        self.unet, self.text_encoder, self.vae = networks.unet, networks.text_encoder, networks.vae
        for frozen in (self.vae, *(() if stage.train_text else (self.text_encoder,))):
            frozen.requires_grad_(False).eval()
        if stage.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.noise_schedule: Any = DDPMScheduler(**SCHEDULE)

    def train(self, mode: bool = True) -> DenoisingLoss:
        self.unet.train(mode)
        return self  # nothing has dropout, and what is frozen stays as it is

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        (mean, std), condition = self.latents(batch)
        timesteps, noises = noise_of(batch["seed"], mean.shape[1:], 2)
        timesteps, noises = timesteps.to(mean.device), noises.to(mean)
        z = (mean + std * noises[:, 0]) * self.vae.config.scaling_factor
        noise = noises[:, 1]
        noisy = self.noise_schedule.add_noise(z, noise, timesteps)
        if condition is not None:
            noisy = torch.cat([noisy, condition], dim=1)
        text = batch["text"].to(z) if "text" in batch else self.text_encoder(input_ids=batch["tokens"]).last_hidden_state
        predicted = self.unet(noisy, timesteps, encoder_hidden_states=text).sample.float()
        losses = reduce(F.mse_loss(predicted, noise.float(), reduction="none"), "b c h w -> b", "mean")
        if self.stage.weighting == "v":  # Salimans and Ho, arXiv 2202.00512, section 4: the error of v is that of ε × (1 + 1/SNR)
            alphas = self.noise_schedule.alphas_cumprod.to(z.device)[timesteps]  # 1 + 1/SNR is 1/ᾱ
            losses = losses / alphas
        return losses.mean()

    @torch.no_grad()
    def latents(self, batch: dict[str, torch.Tensor]) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor | None]:
        """((mean, std) of the target's posterior, condition or None): (b, 4, h, w) each."""
        if "mean" in batch:  # from the cache
            mean, std, condition = batch["mean"], batch[STD], batch.get("condition")
        else:
            posterior = self.vae.encode(batch["edited"]).latent_dist
            mean, std = posterior.mean, posterior.std
            condition = self.vae.encode(batch["original"]).latent_dist.mode() if "original" in batch else None
        if condition is not None:
            condition = condition.float() * rearrange(~batch["drop_image"], "b -> b 1 1 1")
        return (mean.float(), std.float()), condition


def noise_of(seeds: torch.Tensor, shape: Sequence[int], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """→ timesteps (b,) in [0, 1000), noise (b, count, *shape): of every sample what its seed draws, on the CPU."""
    timesteps, noises = [], []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(seed)
        timesteps.append(torch.randint(SCHEDULE["num_train_timesteps"], (), generator=generator))
        noises.append(torch.randn(count, *shape, generator=generator))
    return torch.stack(timesteps), torch.stack(noises)
