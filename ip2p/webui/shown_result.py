"""A result in the gallery finished otherwise, without another edit: *Full size*, and the slider of the photograph's own detail."""

from __future__ import annotations

import html
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir
from threading import Lock

import gradio as gr
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules import images as host_images
from modules import infotext_utils, shared, ui_common, ui_tempdir

from ..edit import FULL, Edit, check_number
from ..errors import EditError
from ..infotext import PREFIX, field_name, fields_of
from . import settings
from .finishing import packed_quickly
from .kept_results import JOB_FIELD, kept

INFOTEXT = "parameters"  # the field of a PNG that the WebUI reads
RESULT_FIELDS = tuple(field_name(setting) for setting in ("result", "detail", "crop"))
LOST = "What this result was made of is not kept any longer, so it stays as it is: edit again."
_one_at_a_time = Lock()  # each takes the memory of a full result


@dataclass(frozen=True)
class Shown:
    """What the page shows. place: of the selected picture in the gallery, −1 for none; gallery: as Gradio's page sends it; info: the
    host's description of the job."""

    place: int
    gallery: list
    info: dict

    @classmethod
    def of(cls, place: float | None, gallery: list | None, info: str) -> Shown:
        try:
            about = json.loads(info)
            texts = about["infotexts"]
            place = max(int(place or 0), 0)
            if place < len(gallery or ()) and isinstance(texts[place], str):
                return cls(place, gallery, about)
        except (ValueError, KeyError, IndexError, TypeError):
            pass
        return cls(-1, [], {})

    @property
    def infotext(self) -> str:
        return self.info["infotexts"][self.place]

    @property
    def is_full(self) -> bool:
        params = infotext_utils.parse_generation_parameters(self.infotext, []) if self.place >= 0 else {}
        return params.get(field_name("result")) == FULL

    def with_picture(self, picture: Image.Image, infotext: str) -> list:
        """The gallery, the description and the infotext with another selected picture: what the page is sent."""
        gallery = [picture if i == self.place else standing_for(path_of(item)) for i, item in enumerate(self.gallery)]
        texts = [*self.info["infotexts"]]
        texts[self.place] = infotext
        return [gallery, json.dumps({**self.info, "infotexts": texts}), ui_common.plaintext_to_html(infotext)]


def build(tools) -> dict:
    """The button beside the other tools of a result, and what the page's script presses for the slider. tools: the row of the buttons."""
    f = {}
    with tools:
        f["full"] = gr.Button("Full size", elem_id="ip2p_full_size", size="sm")
    f["change"] = gr.Button(visible=False, elem_id="ip2p_change_detail")
    f["place"] = gr.Number(-1, visible=False, precision=0, elem_id="ip2p_changed_place")
    return f


def connect(f: dict, page, detail, panel) -> None:
    """page: the field of the window's id; detail: the slider."""

    def full(page: str, place: float, gallery: list, info: str, detail: float, request: gr.Request):
        shown = Shown.of(place, gallery, info)
        if shown.place < 0:
            return [*unchanged(), error("There is no result to bring to full size yet: edit a picture first.")]
        return changed(shown, page, detail, request.username)

    def change(page: str, place: float, gallery: list, info: str, detail: float, request: gr.Request):
        shown = Shown.of(place, gallery, info)
        if not shown.is_full:
            return [*unchanged(), gr.update()]  # the slider is for the next edit
        return changed(shown, page, detail, request.username, results_folder())

    for button, function in ((f["full"], full), (f["change"], change)):
        button.click(
            fn=function,
            _js="ip2p_change_result",
            inputs=[page, f["place"], panel.gallery, panel.generation_info, detail],
            outputs=[panel.gallery, panel.generation_info, panel.infotext, panel.html_log],
        )


def changed(shown: Shown, page: str, detail: float, user: str | None, folder: Path | None = None) -> list:
    """The selected result at full size with this much detail, as the page is sent it: saved as every result, or in a folder of Gradio's."""
    try:
        check_number("detail", detail, 0, 1)
        key = shown.info.get(JOB_FIELD)
        result = kept.result(user, page, key, shown.place)
        if result is None:
            raise EditError(LOST)
        with _one_at_a_time:
            newest = kept.newest(user, page)
            picture = result.made.finished(FULL, detail)
            infotext = changed_infotext(shown.infotext, result.made.edit, detail)
            if folder is not None:
                picture.already_saved_as = str(result.temporary_file(written(picture, infotext, folder)))
            elif shared.opts.samples_save:
                seed, prompt = result.seed, result.made.edit.instruction
                with packed_quickly(picture):
                    host_images.save_image(picture, settings.outdir(), "", seed, prompt, shared.opts.samples_format, info=infotext)
            else:
                picture.info[INFOTEXT] = infotext  # which the host writes where it shows the picture
            if kept.newest(user, page) != newest:
                return [*unchanged(), gr.update()]  # another edit has ended meanwhile, and its results are shown
        note = "" if folder is None else "Save this result to keep it among your files.\n"
        return [*shown.with_picture(picture, infotext), ui_common.plaintext_to_html(note, classname="comments")]
    except EditError as e:
        return [*unchanged(), error(str(e))]


def changed_infotext(infotext: str, edit: Edit, detail: float) -> str:
    """The infotext of a result of this edit that is now full."""
    *texts, parameters = infotext.split("\n")
    now = fields_of(replace(edit, result=FULL, detail=detail, crop=edit.cropped))
    parameters = re.sub(rf", (?:{'|'.join(RESULT_FIELDS)}): [^,]*", "", parameters)
    own = "".join(f", {name}: {now[name]}" for name in RESULT_FIELDS if name in now)
    return "\n".join([*texts, re.sub(rf"({PREFIX}: [^,]*)", lambda match: match[1] + own, parameters, count=1)])


def results_folder() -> Path:
    """Where files lie that the page shows and nobody has saved: the folder from which Gradio hands them out."""
    return Path(shared.opts.temp_dir or os.environ.get("GRADIO_TEMP_DIR") or Path(gettempdir()) / "gradio")


def written(picture: Image.Image, infotext: str, folder: Path) -> Path:
    """A file of it, which the page may ask for: quick to write."""
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(delete=False, suffix=".png", dir=folder) as file:
        texts = PngInfo()
        texts.add_text(INFOTEXT, infotext)
        picture.save(file, "PNG", pnginfo=texts, compress_level=1)
    return Path(file.name)


def path_of(item: list | dict) -> str:
    """The file of a picture in the gallery as the page names it. Raises EditError for one that the page was not given, or that is gone."""
    item = item[0] if isinstance(item, list) and item else item
    name = item.get("name") if isinstance(item, dict) else None
    if not isinstance(name, str) or not ui_tempdir.check_tmp_file(shared.demo, name):
        raise EditError(LOST)
    path = name.rsplit("?", 1)[0]
    if not Path(path).is_file():
        raise EditError(f"{path}, which is in the gallery, is gone: edit again.")
    return path


def standing_for(path: str) -> Image.Image:
    """A picture that the gallery shows this file for, which stays where it is."""
    image = Image.new("L", (1, 1))
    image.already_saved_as = path
    return image


def unchanged() -> list:
    return [gr.update()] * 3


def error(text: str) -> str:
    return f"<div class='error'>{html.escape(text)}</div>"
