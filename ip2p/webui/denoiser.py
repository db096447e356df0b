"""The custom CFG denoiser: the three passes of InstructPix2Pix inside the host's samplers.

`edit_denoiser` puts it into one sampler for one run and takes it out whatever happens. It stands in for
`modules.sd_samplers_cfg_denoiser.CFGDenoiser.forward` and keeps that one's services: interrupt and skip, refiner, prompt
scheduling, AND, mask blending, the three callbacks, `last_noise_uncond` for CFG++, the live preview, the count of steps.

What other extensions' callbacks see does not depend on which passes are dropped: always the rows of a host's edit step,
sub-prompts of every picture, then `image` of every picture, then `uncond`. `cfg_denoiser` may change any of them, and what
it changed is what is compared and run. In `cfg_denoised` a row that did not run holds the prediction of its twin, or, if its
weight is zero, that of the nearest pass of the same picture; changing such a row changes nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache

import torch

from modules import devices, prompt_parser, scripts, sd_samplers_common, shared
from modules.script_callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    cfg_after_cfg_callback,
    cfg_denoised_callback,
    cfg_denoiser_callback,
)

from ..checkpoint import EDIT_CHANNELS
from ..edit import EditError
from ..guidance import Guidance, pass_weights, plan_passes, progress_at
from .settings import passes_are_batched

OUT_OF_MEMORY = "There is not enough GPU memory for this edit: choose a smaller size or batch size, or start the WebUI with --medvram."


class EditRun:
    """What one run of the denoiser is told, and what it leaves behind."""

    def __init__(self, guidance: list[Guidance]):
        self.guidance = guidance  # one for every picture of the batch, or one for all
        self.calls = 0
        self.sequential = not passes_are_batched()
        self.one_by_one = False
        self.fell_back = False  # memory ran out and passes were run one after another from there
        self.heat: torch.Tensor | None = None  # (pictures, h, w), the sum over calls of |full − image| in units of ε

    def of_picture(self, index: int) -> Guidance:
        return self.guidance[index if len(self.guidance) > 1 else 0]


@contextmanager
def edit_denoiser(sampler, guidance: list[Guidance]):
    """Within the block `sampler` edits. guidance: one for every picture of the batch, or one for all.

    The denoiser object stays the sampler's own, so what other extensions patched on it stays too; only its class changes,
    to a subclass of itself. Raises EditError after a run in which something else had taken over its `forward`.
    """
    denoiser = sampler.model_wrap_cfg
    original = type(denoiser)
    denoiser.__class__ = _edit_class(original)
    denoiser.ip2p = run = EditRun(guidance)
    try:
        yield run
        if not run.calls and denoiser.step:
            raise EditError("Another extension has replaced the denoiser, so the edit never ran: switch that extension off and try again.")
    finally:
        denoiser.__class__ = original
        del denoiser.ip2p


@cache
def _edit_class(original: type) -> type:
    return type(f"Edit{original.__name__}", (EditForward, original), {})


def is_edit_model(sd_model) -> bool:
    """Whether the loaded model's UNet takes a noised latent and a picture's."""
    first = getattr(getattr(getattr(sd_model, "model", None), "diffusion_model", None), "input_blocks", None)
    return first is not None and first[0][0].weight.shape[1] == EDIT_CHANNELS


class EditForward:
    """The `forward` of an edit, mixed into the sampler's own denoiser class. `self.ip2p` is the run."""

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        """One guided prediction.

        x: (b, 4, h, w) noised latents; sigma: (b,), for DDIM and its kin the timestep; uncond, cond: the host's prompt
        schedules; image_cond: (b, 4, h, w), the mode of the pictures' posterior, unscaled. Returns x0 for k-diffusion and
        LCM, ε for DDIM, PLMS and UniPC.
        """
        run: EditRun = self.ip2p
        if shared.state.interrupted or shared.state.skipped:
            raise sd_samplers_common.InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            cond, uncond = self.sampler.sampler_extra_args["cond"], self.sampler.sampler_extra_args["uncond"]

        prompts, text = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        negative = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask is not None and self.mask_before_denoising:
            x = self._blend(x, sigma)

        layout = Layout(self, prompts, x, sigma, text, negative, image_cond)
        weights = [pass_weights(*self._scales(i, sigma, s_min_uncond), [weight for _, weight in prompts[i]]) for i in range(layout.batch)]
        plan = plan_passes(weights, layout.rows, layout.equal, always=layout.uncond if self.need_last_noise_uncond else ())
        predictions = self._predict(layout, plan.rows)

        out = predictions[list(plan.stand_in)]
        denoised_params = CFGDenoisedParams(out, shared.state.sampling_step, shared.state.sampling_steps, self.inner_model)
        cfg_denoised_callback(denoised_params)
        out = denoised_params.x

        if self.need_last_noise_uncond:
            self.last_noise_uncond = out[layout.uncond.start :].clone()
        self._add_heat(layout, plan.rows, out, sigma)

        denoised = plan.combine(out[list(plan.rows)])
        if self.mask is not None and not self.mask_before_denoising:
            denoised = self._blend(denoised, sigma)
        self._show(layout, out, denoised, sigma)

        after = AfterCFGCallbackParams(denoised, shared.state.sampling_step, shared.state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        run.calls += 1
        return after.x

    def _scales(self, picture: int, sigma, s_min_uncond) -> tuple[float, float]:
        """Scales of one picture in this call. Skip early CFG and NGMS switch both guidances off: `full` alone runs."""
        options, params = shared.opts, self.p.extra_generation_params
        if options.skip_early_cond != 0.0 and self.step / self.total_steps <= options.skip_early_cond:
            params["Skip Early CFG"] = options.skip_early_cond
            return 1.0, 1.0
        if (self.step % 2 or options.s_min_uncond_all) and s_min_uncond > 0 and sigma[0] < s_min_uncond:
            params["NGMS"] = s_min_uncond
            if options.s_min_uncond_all:
                params["NGMS all steps"] = options.s_min_uncond_all
            return 1.0, 1.0
        guidance = self.ip2p.of_picture(picture)
        text, image = guidance.at(self._progress(sigma[picture]) if guidance.scheduled else 0.0)
        return text * self.cond_scale_miltiplier, image * self.cond_scale_miltiplier

    def _progress(self, sigma) -> float:
        to_timestep = getattr(self.inner_model, "sigma_to_t", None)  # DDIM and its kin lack it: sigma is the timestep
        return progress_at(float(to_timestep(sigma) if to_timestep else sigma))

    def _predict(self, layout: Layout, rows: tuple[int, ...]) -> torch.Tensor:
        """Predictions of `rows`, (len(rows), 4, h, w): in one batch, or one pass after another where the host's setting says
        so or memory ran out. Prompts of another token count need a call of their own."""
        run = self.ip2p
        while True:
            limit = 1 if run.one_by_one else layout.batch if run.sequential else len(rows)
            try:
                outputs = {}
                for group in layout.same_length(rows):
                    for start in range(0, len(group), limit):
                        part = group[start : start + limit]
                        outputs.update(zip(part, self.inner_model(layout.x[part], layout.sigma[part], cond=layout.condition(part))))
                return torch.stack([outputs[row] for row in rows])
            except torch.cuda.OutOfMemoryError as e:
                if limit == 1:
                    raise EditError(OUT_OF_MEMORY) from e
                if run.sequential or layout.batch == 1:
                    run.one_by_one = True
                run.sequential = True
                outputs = None
            # Outside the handler, where the failed call's tensors are no longer held by its traceback.
            devices.torch_gc()
            if not run.fell_back:
                run.fell_back = True
                self.p.comment("GPU memory ran out: the passes of this edit run one after another.")

    def _blend(self, latent, sigma):
        blended = latent * self.nmask + self.init_latent * self.mask
        if self.p.scripts is not None:
            args = scripts.MaskBlendArgs(latent, self.nmask, self.init_latent, self.mask, blended, denoiser=self, sigma=sigma)
            self.p.scripts.on_mask_blend(self.p, args)
            blended = args.blended_latent
        return blended

    def _add_heat(self, layout: Layout, rows: tuple[int, ...], out, sigma) -> None:
        """|full − image| shows where the instruction acts, and costs nothing in a step that runs both passes."""
        if not {*layout.first, *layout.image} <= {*rows}:
            return
        heat = (out[layout.first] - out[layout.image.start : layout.image.stop]).abs().mean(1).float()
        if not self.mask_before_denoising:  # x0 = x − σ·ε
            heat = heat / sigma[:, None, None]
        run = self.ip2p
        run.heat = heat if run.heat is None or run.heat.shape != heat.shape else run.heat + heat

    def _show(self, layout: Layout, out, denoised, sigma) -> None:
        first = layout.x[layout.first]
        # The host keeps the text pass here; an interrupted edit is better given back as it was going to be.
        self.sampler.last_latent = self.get_pred_x0(first, denoised, sigma)
        content = shared.opts.live_preview_content
        if content == "Prompt":
            preview = self.get_pred_x0(first, out[layout.first], sigma)
        elif content == "Negative prompt":
            negative = slice(layout.uncond.start, None)
            preview = self.get_pred_x0(layout.x[negative], out[negative], sigma)
        else:
            preview = self.sampler.last_latent
        sd_samplers_common.store_latent(preview)


class Layout:
    """Every pass of every picture as a row: sub-prompts, then `image`, then `uncond`, as `cfg_denoiser` callbacks left them."""

    def __init__(self, denoiser: EditForward, prompts, x, sigma, text, negative, image_cond):
        self.batch = len(prompts)
        texts = sum(len(p) for p in prompts)
        self.texts, self.image = texts, range(texts, texts + self.batch)
        self.uncond = range(texts + self.batch, texts + 2 * self.batch)
        self.rows = [[*(row for row, _ in p), self.image[i], self.uncond[i]] for i, p in enumerate(prompts)]
        self.first = [p[0][0] for p in prompts]
        owner = [i for i, p in enumerate(prompts) for _ in p] + 2 * list(range(self.batch))

        nothing = torch.zeros_like(image_cond)
        # After a refiner that is no edit model there is no picture to give: `image` and `uncond` become one pass.
        self.edits = is_edit_model(shared.sd_model)
        picture = image_cond if self.edits else nothing
        params = CFGDenoiserParams(
            x[owner], torch.cat([picture[owner[:texts]], picture, nothing]), sigma[owner],
            shared.state.sampling_step, shared.state.sampling_steps, text, negative, denoiser,
        )  # fmt: skip
        cfg_denoiser_callback(params)
        self.x, self.image_cond, self.sigma = params.x, params.image_cond, params.sigma
        self.text, self.negative = params.text_cond, params.text_uncond

        denoiser.padded_cond_uncond = denoiser.padded_cond_uncond_v0 = False
        if self.text.shape[1] != self.negative.shape[1]:
            if shared.opts.pad_cond_uncond_v0:
                self.text, self.negative = denoiser.pad_cond_uncond_v0(self.text, self.negative)
            elif shared.opts.pad_cond_uncond:
                self.text, self.negative = denoiser.pad_cond_uncond(self.text, self.negative)

    def text_of(self, row: int):
        """The text condition of a row: (tokens, width), or the host's dictionary of such."""
        source, index = (self.text, row) if row < self.texts else (self.negative, (row - self.texts) % self.batch)
        return {k: v[index] for k, v in source.items()} if isinstance(source, dict) else source[index]

    def equal(self, a: int, b: int) -> bool:
        """Whether two rows of a picture ask the network for the same thing."""
        return (
            same(self.text_of(a), self.text_of(b))
            and same(self.image_cond[a], self.image_cond[b])
            and same(self.x[a], self.x[b])
            and same(self.sigma[a], self.sigma[b])
        )

    def same_length(self, rows: tuple[int, ...]) -> list[list[int]]:
        """`rows`, together where their texts have one token count."""
        if self.text.shape[1] == self.negative.shape[1]:
            return [list(rows)]
        groups = [[r for r in rows if r < self.texts], [r for r in rows if r >= self.texts]]
        return [group for group in groups if group]

    def condition(self, rows: list[int]) -> dict:
        """What the host's model takes as `cond` for these rows."""
        texts, picture = [self.text_of(row) for row in rows], self.image_cond[rows]
        if not isinstance(texts[0], dict):
            return {"c_crossattn": [torch.stack(texts)], "c_concat": [picture]}
        condition = {k: torch.stack([t[k] for t in texts]) for k in texts[0]}
        # SDXL: the network's wrapper appends `concat` to the latent; a model that is no edit model has no room for it.
        return {**condition, "concat": picture} if self.edits else condition


def same(a, b) -> bool:
    """Equality of two tensors, or of two dictionaries of them."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a.shape == b.shape and torch.equal(a, b)
