"""A region by name in img2img: it becomes the mask of the host's own inpainting."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr
import numpy as np
from PIL import Image

from modules import images, shared
from modules.ui_components import FormRow

from ..edit import Edit
from ..errors import EditError
from ..located import located
from ..where import MARGIN, NAME, NAMES, Where
from .finders import FINDERS

EVERYWHERE = "Everywhere"


def build(elem_id) -> list:
    """The name and whether only that part is edited. elem_id: makes an element's id of a name."""
    with FormRow():
        name = gr.Dropdown([EVERYWHERE, *NAMES], value=EVERYWHERE, label="Where the edit acts", elem_id=elem_id("region"))
        only = gr.Checkbox(False, label="Only that part, at the size of the job", elem_id=elem_id("region_only"))
    return [name, only]


def where_of(name: object, only: object) -> Where | None:
    """Raises EditError for a name that is none."""
    return None if name in (None, "", EVERYWHERE) else Where(NAME, str(name), only=bool(only))


def put_mask(p, where: Where) -> None:
    """Makes the region of the job's picture the mask that the host inpaints. Raises EditError, also where there is a mask already."""
    if p.image_mask is not None:
        raise EditError("The job has a mask and a region: leave one of them out.")
    picture = images.flatten(p.init_images[0], shared.opts.img2img_background_color).convert("RGB")
    if any(other.size != picture.size or np.any(np.asarray(other.convert("RGB")) != np.asarray(picture)) for other in p.init_images[1:]):
        raise EditError("A region by name is of one picture: edit these one after another.")
    mask = located(Edit(picture, "edit", region=replace(where, only=False)), FINDERS).mask
    p.image_mask = Image.merge("RGB", [mask] * 3)
    p.mask_round, p.mask_blur_x, p.mask_blur_y, p.inpainting_mask_invert = False, 0, 0, 0
    p.inpaint_full_res = where.only
    left, top, right, bottom = mask.getbbox()
    p.inpaint_full_res_padding = round(MARGIN * max(right - left, bottom - top))
