"""What the editor's latents and results are measured against: the plain formula, diffusers' own pipeline, and how far two differ."""

import numpy as np
import torch
from PIL import Image

from ip2p.edit import Edit
from ip2p.editor import DRAWING, Editor


def final_latents(editor: Editor, edit: Edit, **options) -> torch.Tensor:
    """(results of the last batch, 4, h, w)"""
    seen = []
    editor.edit(edit, on_step=lambda step, total, latents: seen.append(latents), **options)
    return seen[-1]


@torch.inference_mode()
def plain_formula(editor: Editor, edit: Edit, seed: int) -> torch.Tensor:
    """Equation 3 as the paper writes it: three separate calls of the network in every step, one picture. Pure noise only. Fast: the text
    term is that of the last step of two, the image term that of the last of four, of a network of ε as they were, of v as ε would have it."""
    pixels = torch.from_numpy(np.array(edit.image.resize((edit.width, edit.height)), dtype=np.float32) / 127.5 - 1)
    moments = editor.vae.quant_conv(editor.vae.encoder(pixels.permute(2, 0, 1)[None]))
    c_image, nothing = moments[:, :4], torch.zeros_like(moments[:, :4])

    def text(words):
        ids = editor.tokenizer(words, padding="max_length", max_length=77, return_tensors="pt").input_ids
        return editor.text_encoder(input_ids=ids).last_hidden_state

    c_text, no_text = text(edit.instruction), text(edit.negative_prompt)
    scheduler, timesteps = editor.timesteps(edit)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(4, 8, 8, generator=generator)[None] * scheduler.init_noise_sigma
    for step, t in enumerate(timesteps):
        x = scheduler.scale_model_input(z, t)

        def e(image, words, x=x, t=t):
            return editor.unet(torch.cat([x, image], 1), t, words).sample

        guidance = edit.guidance()
        s_text, s_image = guidance.at(min(max(1 - float(t) / 999, 0), 1))
        e_nothing, e_image, e_full = e(nothing, no_text), e(c_image, no_text), e(c_image, c_text)
        guided = e_nothing + s_image * (e_image - e_nothing) + s_text * (e_full - e_image)
        if edit.speed == "fast":
            alpha = scheduler.alphas_cumprod[int(t)] ** 0.5 if editor.prediction_type == "v_prediction" else 1.0
            if step % 2 == 0:
                text_term = (e_full - e_image) * alpha
            if step % 4 == 0:
                image_term = (e_image - e_nothing) * alpha
            guided = e_full + ((s_text - 1) * text_term + (s_image - 1) * image_term) / alpha
        options = {"generator": generator} if edit.sampler_name in DRAWING else {}
        z = scheduler.step(guided, t, z, **options).prev_sample
    return z


def pipeline_latents(editor: Editor, edit: Edit) -> torch.Tensor:
    from diffusers import StableDiffusionInstructPix2PixPipeline

    pipeline = StableDiffusionInstructPix2PixPipeline(
        editor.vae, editor.text_encoder, editor.tokenizer, editor.unet, editor.scheduler(edit), None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(edit.seed)
    done = pipeline(
        edit.instruction, edit.image, edit.steps, edit.text_scale, edit.image_scale, edit.negative_prompt, output_type="latent",
        latents=torch.randn(4, 8, 8, generator=generator)[None], generator=generator,
    )  # fmt: skip
    return done.images


def deviation(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference as a share of the largest latent."""
    ours, theirs = ours.detach(), theirs.detach()
    return float((ours - theirs).abs().max() / theirs.abs().max())


def difference(one, other) -> int:
    """The largest, in levels of 255."""
    return int(np.abs(np.asarray(one.image, dtype=int) - np.asarray(other.image, dtype=int)).max())


def half_mask(size) -> Image.Image:
    """White, that is edited, on the right."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2 + 3, 0, *size))
    return mask
