"""The always-on Script "Instruct edit": the same denoiser for img2img, its batch and inpaint tabs, other scripts, the API
and the X/Y/Z plot. It replaces only the denoiser; the rest of the job stays img2img's."""

from __future__ import annotations

import gradio as gr
import numpy as np
import torch
from fastapi import HTTPException

from modules import devices, images, scripts, shared
from modules.infotext_utils import PasteField
from modules.processing import StableDiffusionProcessingImg2Img, decode_latent_batch
from modules.ui_components import FormRow

from ..detail import DetailMap
from ..edit import FULL, OWN_SIZE, SPEEDS, WORKING, Edit, check_number, check_speed, result_asked
from ..errors import EditError
from ..guidance import Guidance, Interval
from ..images import Frame
from ..infotext import field_name, own_fields
from ..pixels import to_levels
from ..presets import preset_named
from ..wording import RESULT_LABELS
from . import paste, picker, script_region
from .denoiser import edit_denoiser, is_edit_model
from .finishing import full_or_enlarged
from .models import chosen_defaults
from .one_pass import check_student
from .processing import check_host_can
from .prompts import check_prompts

TITLE = "Instruct edit"
INTERVALS = ("text_start", "text_end", "image_start", "image_end")
RESULT, DETAIL, REGION = range(len(INTERVALS), len(INTERVALS) + 3)  # places among the arguments from those of INTERVALS on
SPEED = REGION + 2
CROP_AND_RESIZE, RESIZE_AND_FILL = 1, 2  # of the host's resize modes; the others squeeze the picture


class InstructEdit(scripts.Script):
    """Arguments: enabled, start from pure noise, the start and the end of text and of image guidance, the result, the detail, the name of a
    region, whether only that is edited, the speed.

    The result by its name in `Edit.result` or by its label.
    """

    def title(self):
        return TITLE

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        if not is_img2img:
            return []
        with gr.Accordion(TITLE, open=False, elem_id=self.elem_id("accordion")):
            gr.HTML(
                "<p>With an edit model loaded img2img edits by instruction: CFG Scale is the text scale, Image CFG Scale the image scale.</p>"
            )
            enabled = gr.Checkbox(True, label="Edit by instruction when an edit model is loaded", elem_id=self.elem_id("enabled"))
            from_noise = gr.Checkbox(False, label="Start from pure noise, as the tab does", elem_id=self.elem_id("from_noise"))
            sliders = []
            for guidance in ("text", "image"):
                with FormRow():
                    for end, value in (("start", 0), ("end", 1)):
                        label = f"{guidance.title()} guidance {end} of the edit"
                        sliders.append(gr.Slider(0, 1, value, step=0.01, label=label, elem_id=self.elem_id(f"{guidance}_{end}")))
            with FormRow():
                labels = list(paste.RESULTS_BY_LABEL)
                result = gr.Radio(labels, value=RESULT_LABELS[WORKING], label="Result of the edit", elem_id=self.elem_id("result"))
                detail = gr.Slider(0, 1, 1, step=0.05, label="Keep the photograph's detail in a full size", elem_id=self.elem_id("detail"))
            region = script_region.build(self.elem_id)
            speed = gr.Radio([*SPEEDS], value=Edit.speed, label="Speed of the edit", elem_id=self.elem_id("speed"))
        self.infotext_fields = [
            PasteField(from_noise, lambda d: d.get(field_name("from noise"), False)),
            *(PasteField(s, paste.pasted(name)) for s, name in zip(sliders, INTERVALS)),
            PasteField(result, lambda d: RESULT_LABELS.get(paste.result_of(d))),
            PasteField(detail, paste.pasted("detail")),
            PasteField(speed, paste.pasted_speed),
        ]
        return [enabled, from_noise, *sliders, result, detail, *region, speed]

    def process(self, p, enabled=False, from_noise=False, *rest):
        vars(p).pop("instruct_edit_full", None)  # of the job that this one is a copy of
        if not is_edit_model(shared.sd_model):
            return
        if not isinstance(p, StableDiffusionProcessingImg2Img):
            refuse(
                p,
                f"“{shared.sd_model.sd_checkpoint_info.name_for_extra}” is an edit model and needs a picture: use the tab Instruct edit or img2img, or choose another checkpoint.",
            )
            return
        if not enabled:
            return
        p.image_cfg_scale = chosen_defaults().image_scale if p.image_cfg_scale is None else p.image_cfg_scale
        try:
            check_host_can(p, from_noise=from_noise)
            check_prompts(p)
            check_student(p, guidance=self.guidance_of(p, rest))
            result, detail = result_of(rest)
            if where := script_region.where_of(*(*rest[REGION:], None, None)[:2]):
                script_region.put_mask(p, where)
        except (EditError, ValueError) as e:
            refuse(p, str(e))
            return
        p.inpainting_fill = 1  # the picture is what is edited: never one with the masked part filled in
        # A dictionary of its own: the X/Y/Z plot's cells share one, and a cell would have the schedule of another in its infotext.
        others = {
            k: v
            for k, v in p.extra_generation_params.items()
            if k not in map(field_name, (*INTERVALS, "result", "detail", "region", "speed"))
        }
        if result != WORKING and (reason := keeps_working_size(p)):
            p.comment(f"The results stay at working size: {reason}.")
            result = WORKING
        own = dict(zip(INTERVALS, self.interval_of(p, rest)), result=result, speed=self.speed_of(p, rest))
        if result == FULL:
            own["detail"] = detail
        p.extra_generation_params = others | own_fields(own)
        if result != WORKING:
            p.instruct_edit_full = FullResults(result, detail)
            p.do_not_save_grid = True  # of full results it would take more memory than all of them
            p.extra_generation_params[field_name("result")] = p.instruct_edit_full.given
        if where:
            p.extra_generation_params[field_name("region")] = where.text
        if from_noise:
            p.extra_generation_params[field_name("from noise")] = True

    def process_batch(self, p, enabled=False, from_noise=False, *rest, **kwargs):
        if not enabled or not is_edit_model(shared.sd_model) or not isinstance(p, StableDiffusionProcessingImg2Img) or "sample" in vars(p):
            return
        stock = p.sample

        def sample(*args, **kwargs):
            match_size(p)
            try:
                with edit_denoiser(p.sampler, [self.guidance_of(p, rest)]):
                    if from_noise:
                        p.sampler.sample_img2img = start_from_noise(p.sampler)
                    samples = stock(*args, **kwargs)
                if full := vars(p).get("instruct_edit_full"):
                    full.decode(p)
                return samples
            except EditError as e:
                raise (HTTPException(422, str(e)) if p.is_api else e) from e
            finally:
                vars(p.sampler).pop("sample_img2img", None)

        p.sample = sample

    def postprocess_image_after_composite(self, p, pp, *args):
        if full := vars(p).get("instruct_edit_full"):
            pp.image = full.finished(p, pp.image)

    @staticmethod
    def interval_of(p, interval) -> list[float]:
        """The four ends: as an axis of the X/Y/Z plot set them, else as the accordion has them."""
        ends = dict(zip(INTERVALS, (0.0, 1.0, 0.0, 1.0))) | dict(zip(INTERVALS, interval))
        return [getattr(p, axis_field(name), ends[name]) for name in INTERVALS]

    def guidance_of(self, p, interval) -> Guidance:
        text_start, text_end, image_start, image_end = self.interval_of(p, interval)
        intervals = Interval(text_start, text_end), Interval(image_start, image_end)
        return Guidance(p.cfg_scale, p.image_cfg_scale, *intervals, cadence=SPEEDS[self.speed_of(p, interval)])

    @staticmethod
    def speed_of(p, rest) -> str:
        """As an axis of the X/Y/Z plot set it, else as the accordion has it; exact where a caller names none. Raises EditError."""
        speed = getattr(p, axis_field("speed"), rest[SPEED] if len(rest) > SPEED else Edit.speed)
        check_speed(speed)
        return speed


class FullResults:
    """img2img's results at the size of its pictures."""

    def __init__(self, result: str, detail: float):
        self.result, self.detail = result, detail
        self.decoded = []  # of every picture, through the autoencoder alone
        self.enlarged = set()  # (batch, place) of results that were to be full and were interrupted

    def decode(self, p) -> None:
        """Once a job, while the host has the autoencoder where it works."""
        if self.result == FULL and self.detail and not self.decoded:
            # The mode of the posterior, from which the edit is made; SDXL's wrapper gives it no other than a sample.
            modes = p.init_latent if getattr(p.sd_model, "is_sdxl", False) else p.image_conditioning * p.sd_model.scale_factor
            latents = modes[: len(p.init_images)]
            decoded = decode_latent_batch(p.sd_model, latents, target_device=devices.cpu, check_for_nans=True)
            self.decoded = [to_levels(picture) for picture in decoded]

    def finished(self, p, image):
        """image: a result at working size."""
        place = p.batch_index if p.batch_index < len(p.init_images) else 0
        picture = images.flatten(p.init_images[place], shared.opts.img2img_background_color)
        frame = frame_of(p, picture)
        photograph, levels = frame.shown(picture), frame.cut_levels(np.asarray(image.convert("RGB"), np.float32))

        def enlarged():
            return DetailMap.enlarging(levels).applied(photograph)

        if not self.decoded:
            return enlarged()
        decoded = frame.cut_levels(self.decoded[place])
        fitted = DetailMap.fit(photograph, levels, decoded, self.detail)  # whatever the aspect: “Just resize” squeezes pictures
        full, as_asked = full_or_enlarged(lambda report: fitted.applied(photograph, None, report), enlarged)
        if not as_asked:
            self.enlarged.add((p.iteration, p.batch_index))
        return full

    def given(self, p, index, **_):
        """The infotext's field, by the place in the current batch."""
        return OWN_SIZE if (p.iteration, index) in self.enlarged else self.result


def result_of(rest) -> tuple[str, float]:
    """The result and the detail that are asked for; those of before where a caller names neither. Raises EditError."""
    result = rest[RESULT] if len(rest) > RESULT else WORKING
    detail = rest[DETAIL] if len(rest) > DETAIL else 1.0
    if not isinstance(detail, (int, float)):
        raise EditError(f"The detail must be a number between 0 and 1, not {str(detail)[:80]}.")
    check_number("detail", detail, 0, 1)
    return result_asked(paste.RESULTS_BY_LABEL.get(str(result), str(result)), None), detail


def keeps_working_size(p) -> str | None:
    """Why this job's results can't be at their pictures' own size."""
    if p.image_mask is not None:
        return "with a mask the tab Instruct edit gives them at the picture's own size"
    if p.script_args and p.script_args[0]:
        return "a script of the list, such as the X/Y/Z plot, makes them"
    return None


def frame_of(p, picture) -> Frame:
    """How the host has laid a picture into the working size."""
    size = w, h = p.width, p.height
    if p.resize_mode != RESIZE_AND_FILL:
        return Frame(size, (0, 0, w, h), cropped=p.resize_mode == CROP_AND_RESIZE)
    inner_w, inner_h = min(w, picture.width * h // picture.height), min(h, picture.height * w // picture.width)
    left, top = w // 2 - inner_w // 2, h // 2 - inner_h // 2
    return Frame(size, (left, top, left + inner_w, top + inner_h))


def refuse(p, sentence: str) -> None:
    """Ends a job before it starts: 422 for the API, and on the page the sentence under an empty gallery."""
    if not p.is_api:
        p.n_iter, p.do_not_save_grid = 0, True
        p.comment(sentence)
        return

    def fail(*args):
        raise HTTPException(422, sentence)

    p.init = fail


def match_size(p) -> None:
    """“Just resize (latent upscale)” enlarges the latent but leaves the image condition at the picture's size."""
    if p.image_conditioning.shape[-2:] != p.init_latent.shape[-2:]:
        size = p.init_latent.shape[-2:]
        p.image_conditioning = torch.nn.functional.interpolate(p.image_conditioning, size=size, mode="bilinear")


def start_from_noise(sampler):
    """`sample_img2img` of this run, from the noise alone."""

    def sample_img2img(p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        sampler.model_wrap_cfg.init_latent = x
        return sampler.sample(p, noise, conditioning, unconditional_conditioning, image_conditioning=image_conditioning)

    return sample_img2img


def axis_field(name: str) -> str:
    return f"instruct_edit_{name}"


def add_axes() -> None:
    """Adds our axes to the X/Y/Z plot, once, however often the host reloads its page."""
    plot = next((x.module for x in scripts.scripts_data if x.script_class.__module__ == "xyz_grid.py"), None)
    if plot is None or any(axis.label.startswith(f"[{TITLE}]") for axis in plot.axis_options):
        return

    def apply_preset(p, key, keys):
        preset = preset_named(key, picker.presets(p.user), picker.LISTED)
        p.prompt = preset.instruction_for()
        others = {info.axis.label for info in (shared.state.xyz_plot_x, shared.state.xyz_plot_y, shared.state.xyz_plot_z)}
        scales = chosen_defaults().ready(preset)  # and not the steps, which stay those that were asked for
        for field, value, labels in (
            ("cfg_scale", scales["text_scale"], {"CFG Scale", f"[{TITLE}] Text scale"}),
            ("image_cfg_scale", scales["image_scale"], {"Image CFG Scale", f"[{TITLE}] Image scale"}),
        ):
            if not labels & others:  # else another axis of the sheet goes over it
                setattr(p, field, value)

    def confirm_presets(p, keys):
        try:
            for key in keys:
                preset_named(key, picker.presets(p.user), picker.LISTED)
        except EditError as e:
            raise (HTTPException(422, str(e)) if p.is_api else e) from e

    def confirm_speeds(p, speeds):
        try:
            for speed in speeds:
                check_speed(speed)
        except EditError as e:
            raise (HTTPException(422, str(e)) if p.is_api else e) from e

    plot.axis_options.extend([
        plot.AxisOptionImg2Img(f"[{TITLE}] Preset", str, apply_preset, plot.format_value, confirm_presets, choices=lambda: list(picker.presets())),
        plot.AxisOptionImg2Img(f"[{TITLE}] Text scale", float, plot.apply_field("cfg_scale")),
        plot.AxisOptionImg2Img(f"[{TITLE}] Image scale", float, plot.apply_field("image_cfg_scale")),
        *(
            plot.AxisOptionImg2Img(f"[{TITLE}] {name.replace('_', ' guidance ').capitalize()}", float, plot.apply_field(axis_field(name)))
            for name in INTERVALS
        ),
        plot.AxisOptionImg2Img(f"[{TITLE}] Speed", str, plot.apply_field(axis_field("speed")), plot.format_value, confirm_speeds, choices=lambda: [*SPEEDS]),
    ])  # fmt: skip
