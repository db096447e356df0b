"""The edit written down as plainly as it can be: three calls of the network for every picture, one at a time.

Shares no code with the extension. What it computes is what every edit of the extension is compared with.
"""

import numpy as np
import torch
from PIL import Image

from modules import prompt_parser, sd_samplers, shared
from modules.processing import StableDiffusionProcessingImg2Img


class Reference(StableDiffusionProcessingImg2Img):
    """An edit from pure noise with the scales of equation 3, each acting in an interval of the noise levels. Fast: of a call that is no
    second one `image`, and of one that is no fourth one `uncond`, are what was before them less what they differed by in ε."""

    def set_scales(self, text_scale, image_scale, text_interval, image_interval, fast=False):
        self.fast = fast
        self.scales = {"text": (text_scale, *text_interval), "image": (image_scale, *image_interval)}

    def init(self, all_prompts, all_seeds, all_subseeds):
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        image = self.init_images[0].resize((self.width, self.height), Image.LANCZOS)
        pixels = torch.from_numpy(np.array(image).astype(np.float32) / 127.5 - 1)
        vae = self.sd_model.first_stage_model
        moments = vae.quant_conv(vae.encoder(pixels.permute(2, 0, 1).unsqueeze(0)))
        mode = moments[:, :4]  # the mean of the posterior; its log-variance follows
        self.image_conditioning = torch.cat([mode] * self.batch_size)

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        denoiser = self.sampler.model_wrap_cfg
        self.call, self.level, self.held = 0, float("inf"), {}
        denoiser.forward = lambda *args, **kwargs: predict(self, denoiser, *args, **kwargs)
        noise = self.rng.next()
        if self.denoising_strength < 1:
            latent = self.image_conditioning * self.sd_model.scale_factor
            return self.sampler.sample_img2img(
                self, latent, noise, conditioning, unconditional_conditioning, image_conditioning=self.image_conditioning
            )
        return self.sampler.sample(self, noise, conditioning, unconditional_conditioning, image_conditioning=self.image_conditioning)


def predict(p, denoiser, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
    """e(0, 0) + s_I·(e(c_I, 0) − e(0, 0)) + s_T·Σ w·(e(c_I, c_T) − e(c_I, 0)), picture by picture."""
    prompts, texts = prompt_parser.reconstruct_multicond_batch(cond, denoiser.step)
    negatives = prompt_parser.reconstruct_cond_batch(uncond, denoiser.step)
    combined, unconditioned = [], []
    if sigma[0].item() > p.level:
        p.call = 0
    p.level = sigma[0].item()
    for i in range(len(x)):

        def network(text, image, i=i):
            if isinstance(text, dict):  # SDXL
                condition = {
                    "crossattn": text["crossattn"].unsqueeze(0),
                    "vector": text["vector"].unsqueeze(0),
                    "concat": image.unsqueeze(0),
                }
            else:
                condition = {"c_crossattn": [text.unsqueeze(0)], "c_concat": [image.unsqueeze(0)]}
            return denoiser.inner_model(x[i : i + 1], sigma[i : i + 1], cond=condition)[0]

        text_scale, image_scale = (
            scale_at(p.scales[name], sigma[i], denoiser.inner_model) * denoiser.cond_scale_miltiplier for name in ("text", "image")
        )
        if guidance_is_off(p, denoiser, sigma):
            text_scale = image_scale = 1.0
        negative = text_at(negatives, i)
        e_nothing = network(negative, torch.zeros_like(image_cond[i]))
        e_image = network(negative, image_cond[i])
        full = [(network(text_at(texts, index), image_cond[i]), weight) for index, weight in prompts[i]]
        if p.fast and not denoiser.need_last_noise_uncond:
            e_image, e_nothing = held(p, i, full, e_image, e_nothing, -sigma[i] if hasattr(denoiser.inner_model, "sigmas") else 1.0)
        result = e_nothing + image_scale * (e_image - e_nothing)
        for e_full, weight in full:
            result = result + text_scale * weight * (e_full - e_image)
        combined.append(result)
        unconditioned.append(e_nothing)
    denoiser.last_noise_uncond = torch.stack(unconditioned)
    denoiser.step += 1
    p.call += 1
    return torch.stack(combined)


def held(p, i, full, e_image, e_nothing, per_epsilon):
    """`image` and `uncond` of a call as a fast edit has them. per_epsilon: what the predictions change by where ε changes by one."""
    mean = sum(e_full * weight for e_full, weight in full) / sum(weight for _, weight in full)
    if p.call % 2 == 0:
        p.held[i, "text"] = (mean - e_image) / per_epsilon
    image = e_image if p.call % 2 == 0 else mean - p.held[i, "text"] * per_epsilon
    if p.call % 4 == 0:
        p.held[i, "image"] = (e_image - e_nothing) / per_epsilon
    return image, e_nothing if p.call % 4 == 0 else image - p.held[i, "image"] * per_epsilon


def text_at(texts, i):
    return {name: tensor[i] for name, tensor in texts.items()} if isinstance(texts, dict) else texts[i]


def guidance_is_off(p, denoiser, sigma):
    """The host's Skip early CFG and NGMS: the prompt with the picture alone, no guidance."""
    if shared.opts.skip_early_cond and denoiser.step / denoiser.total_steps <= shared.opts.skip_early_cond:
        return True
    return bool(p.s_min_uncond) and (denoiser.step % 2 == 1 or shared.opts.s_min_uncond_all) and sigma[0].item() < p.s_min_uncond


def scale_at(scale_and_interval, sigma, inner_model):
    """The scale inside its interval, 1 outside. Noise levels are counted in the model's 1000 timesteps, the noisiest first."""
    scale, start, end = scale_and_interval
    if hasattr(inner_model, "sigmas"):
        alphas = shared.sd_model.alphas_cumprod.cpu()
        table = ((1 - alphas) / alphas).sqrt()
        timestep = (table.log() - sigma.cpu().log()).abs().argmin().item()
    else:
        timestep = sigma.item()
    return scale if start <= 1 - timestep / 999 <= end else 1.0
