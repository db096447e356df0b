"""A student of the three passes: one pass that predicts their weighted sum ê at the scales that it is told, and from it one that predicts where
the teacher's trajectory ends, which takes a few steps in place of many.

After guided and progressive distillation (Meng et al., arXiv 2210.03142, section 3.1), with both scales of equation 3 as inputs. The scales are told
as a difference from the usual ones (`scale_input`): at those the student is a plain edit model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from einops import rearrange, reduce
from torch import nn
from torch.nn import functional as F

from ..checkpoints.ldm_file import SCALES
from ..guidance import PASSES
from ..scale_input import FEATURES, scale_features
from .config import ENDPOINT, Stage
from .data import Draw
from .networks import Networks
from .trajectories import Trajectories, alphas_and_sigmas, sampling_times, told_times

FLOOR = 5e-3  # of the guidance part's mean square: that of ε is 1


def student_of(unet: Any) -> UNet2DConditionModel:
    """The UNet with both scales as an input that changes nothing yet; itself where it has them."""
    if unet.config.time_cond_proj_dim:
        return unet
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}  # diffusers drops what it had noted as left out
    with torch.device("meta"):  # no memory and no time for weights that are replaced
        student: Any = UNet2DConditionModel.from_config({**config, "time_cond_proj_dim": FEATURES})
    state = {name: tensor.clone() for name, tensor in unet.state_dict().items()}  # its own: the teacher stays what it is
    student.load_state_dict({**state, SCALES: torch.zeros(unet.config.block_out_channels[0], FEATURES)}, assign=True)
    return student


def lessons(kept: Trajectories, stage: Stage) -> Draw:
    """Of every trajectory a point: of the guided student with ê at a pair of scales drawn anew, of the endpoint's with the last latent and the
    trajectory's own scales. `own`: how many steps the student itself is to take, told `levels`, from the trajectory's noise with `fresh` of each, in place of `z`."""
    endpoint, levels = stage.student == ENDPOINT, told_times(stage.times)

    def draw(trajectory: int, rng: np.random.Generator, variant: int) -> dict[str, torch.Tensor]:
        def read(what: str) -> torch.Tensor:
            return kept.read(trajectory, what).float()

        points = len(t := read("t").long())
        latents, number = read("z"), int(rng.integers(points))
        if endpoint and rng.random() < stage.at_times:
            number -= number % stage.between
        sample = {"z": latents[number], "t": t[number], "told": t[number], "condition": read("condition"), "text": read("text")}
        if endpoint:
            told = torch.tensor([rng.choice(level) for level in levels])
            step, between = divmod(number, stage.between)
            own = step if between == 0 and rng.random() < stage.own_steps else 0
            fresh = torch.from_numpy(rng.standard_normal((stage.times - 1, *latents.shape[1:]), np.float32))
            return {
                **sample,
                "told": told[step] if between == 0 else t[number],
                "scales": read("scales"),
                "wanted": read("last"),
                "noise": latents[0],
                "own": torch.tensor(own),
                "levels": told,
                "fresh": fresh,
            }
        scales = [1.0 if rng.random() < stage.at_one else rng.uniform(ends[0], ends[1]) for ends in (stage.text_scales, stage.image_scales)]
        full, image, uncond = (read(what)[number] for what in PASSES)
        guidance = (scales[0] - 1) * (full - image) + (scales[1] - 1) * (image - uncond)
        return {
            **sample,
            "scales": torch.tensor(scales, dtype=torch.float32),
            "wanted": full + guidance,
            "moved": guidance.square().mean(),
        }

    return Draw(kept.count, draw)


class StudentLoss(nn.Module):
    """Guided: ‖e(z_t, c_I, c_T, s_T, s_I) − ê‖² over the mean square of ê − e(z_t, c_I, c_T) of the teacher, or large scales would rule.
    Endpoint: the squared error of the predicted x0 to the trajectory's last latent. Of the samples with `own` > 0 z is what the student as it
    is makes of the noise in so many steps, each x0 with fresh noise of the next time, as the LCM sampler does: so it learns to mend its own.

    usual: text and image scale at which the student is a plain edit model. Vae and text encoder are frozen.
    """

    def __init__(self, networks: Networks, stage: Stage, usual: tuple[float, float]):
        super().__init__()
        self.stage = stage
        self.unet, self.text_encoder, self.vae = networks.unet, networks.text_encoder, networks.vae
        for frozen in (self.vae, self.text_encoder):
            frozen.requires_grad_(False).eval()
        if stage.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.usual = scale_features(*(torch.tensor([scale]) for scale in usual))

    def train(self, mode: bool = True) -> StudentLoss:
        self.unet.train(mode)
        return self  # nothing has dropout, and what is frozen stays as it is

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = scale_features(*batch["scales"].unbind(1)) - self.usual.to(batch["z"].device)
        batch = {**batch, "inputs": inputs}
        if self.stage.student == ENDPOINT:
            z = self.own_latents(batch) if batch["own"].any() else batch["z"]
            predicted = self.x0(batch, z, batch["t"], batch["told"])
        else:
            predicted = self.predicted(batch, batch["z"], batch["told"])
        losses = reduce(F.mse_loss(predicted, batch["wanted"], reduction="none"), "b c h w -> b", "mean")
        if "moved" in batch:
            losses = losses / batch["moved"].clamp(min=FLOOR)
        return losses.mean()

    def predicted(self, batch: dict[str, torch.Tensor], z: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([z, batch["condition"]], 1)
        return self.unet(rows, told, encoder_hidden_states=batch["text"], timestep_cond=batch["inputs"]).sample.float()

    def x0(self, batch: dict[str, torch.Tensor], z: torch.Tensor, t: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        alpha, sigma = alphas_and_sigmas(t)
        return (z - sigma * self.predicted(batch, z, told)) / alpha

    @torch.no_grad()
    def own_latents(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """(b, 4, h, w): where the student's own steps lead, of the samples that take any; of the others z."""
        own, times = batch["own"], sampling_times(self.stage.times)
        z = torch.where(rearrange(own > 0, "b -> b 1 1 1"), batch["noise"], batch["z"])
        for step in range(int(own.max())):
            takes = own > step
            t, following = (torch.full_like(own[takes], time) for time in times[step : step + 2])
            x0 = self.x0({key: value[takes] for key, value in batch.items()}, z[takes], t, batch["levels"][takes, step])
            alpha, sigma = alphas_and_sigmas(following)
            z[takes] = alpha * x0 + sigma * batch["fresh"][takes, step]
        torch.clear_autocast_cache()  # older versions of torch keep weights in it that no gradient reaches
        return z
