"""The controls of where an edit may act: which part of the picture, how its outline is, and whether only that part is edited."""

from __future__ import annotations

import html
from collections.abc import Callable
from itertools import groupby
from typing import Any

import gradio as gr

from modules.infotext_utils import PasteField
from modules.ui_components import FormRow

from ..infotext import field_name
from ..segmentation import missing
from ..where import INSTRUCTION, MASK, MAX_NUMBER, NAME, NAMES, Where, where_of

SOURCE_LABELS = {MASK: "What is painted", NAME: "By name", INSTRUCTION: "Where the instruction acts"}
OWN_THRESHOLD = -0.05  # of the slider, for the threshold that suits the map
SUITS = -1  # of the slider, for what suits the region's size
MAX_GROW = 200  # pixels that the sliders offer
FIELDS = (
    "region_from", "region_name", "region_number", "region_only", "region_feather", "region_grow", "region_invert",
    "region_threshold", "region_keep_colour", "region_scoped",
)  # fmt: skip


def build() -> dict:
    """Its layout → the controls by the names of FIELDS, which are no settings of `Edit` themselves."""
    c = {}
    with FormRow(elem_id="ip2p_region_row"):
        c["region_from"] = gr.Radio([*SOURCE_LABELS.values()], value=SOURCE_LABELS[MASK], label="Which part", elem_id="ip2p_region_from")
        c["region_name"] = gr.Dropdown([*NAMES], value=NAMES[0], label="Name", elem_id="ip2p_region_name", visible=False)
        c["region_number"] = gr.Slider(0, MAX_NUMBER, 0, step=1, label="Which one", elem_id="ip2p_region_number", visible=False,
                                       info="Of several, counted from left to right; 0 takes all")  # fmt: skip
    not_here = gr.HTML(missing_names(), visible=False, elem_id="ip2p_region_missing")
    with FormRow(elem_id="ip2p_region_outline"):
        c["region_only"] = gr.Checkbox(False, label="Only that part, at the model's own size", elem_id="ip2p_region_only")
        c["region_invert"] = gr.Checkbox(False, label="All but that part", elem_id="ip2p_region_invert")
    with FormRow(elem_id="ip2p_region_edges"):
        c["region_feather"] = gr.Slider(SUITS, MAX_GROW, SUITS, step=1, label="Soft edge, in pixels", elem_id="ip2p_region_feather",
                                        info="Inside the part; -1 suits its size")  # fmt: skip
        c["region_grow"] = gr.Slider(-MAX_GROW, MAX_GROW, 0, step=1, label="Grow, in pixels", elem_id="ip2p_region_grow")
    with FormRow(elem_id="ip2p_region_more"):
        c["region_threshold"] = gr.Slider(OWN_THRESHOLD, 1, OWN_THRESHOLD, step=0.05, label="Threshold", elem_id="ip2p_region_threshold", visible=False,
                                          info="From how strongly the instruction acts; below 0 what suits it")  # fmt: skip
        c["region_keep_colour"] = gr.Slider(0, 1, 0, step=0.05, label="Keep the photograph's colour", elem_id="ip2p_region_keep_colour",
                                            info="Within the part, without its detail")  # fmt: skip
        c["region_scoped"] = gr.Checkbox(False, label="Guidance only within that part", elem_id="ip2p_region_scoped")
    c["region_from"].change(
        fn=lambda label: (
            [gr.update(visible=label == SOURCE_LABELS[NAME])] * 2
            + [gr.update(visible=label != SOURCE_LABELS[INSTRUCTION]), gr.update(visible=label == SOURCE_LABELS[INSTRUCTION])]
        ),
        inputs=[c["region_from"]],
        outputs=[c["region_name"], not_here, c["region_number"], c["region_threshold"]],
        show_progress=False,
    )
    return c


def missing_names() -> str:
    """As HTML, in grey, the names that nothing here finds, with the reason of each."""
    reasons = sorted((reason, name) for name in NAMES if (reason := missing(name)))
    lines = (f"{', '.join(name for _, name in group)}: {reason}" for reason, group in groupby(reasons, key=lambda pair: pair[0]))
    text = "<br>".join(map(html.escape, lines))
    return f"<p class='ip2p-greyed'>Not found here – {text}</p>" if text else ""


def take_where(settings: dict) -> Where | None:
    """Takes the controls' values out of the settings → where the edit may act; None for the whole picture, which is what is edited while
    nothing is painted. Raises EditError."""
    value = {name.removeprefix("region_"): settings.pop(name) for name in FIELDS}
    source = next((source for source, label in SOURCE_LABELS.items() if label == value["from"]), value["from"])
    if source == MASK and settings["mask"] is None:
        return None
    feather, threshold = value["feather"], value["threshold"] if source == INSTRUCTION else None
    return Where(
        source,
        value["name"] if source == NAME else "",
        number=0 if source == INSTRUCTION or value["invert"] else int(value["number"] or 0),
        feather=None if feather is None or feather < 0 else feather,
        grow=value["grow"] or 0,
        invert=bool(value["invert"]),
        only=bool(value["only"]),
        threshold=None if threshold is None or threshold < 0 else threshold,
        keep_colour=value["keep_colour"] or 0,
        scoped=bool(value["scoped"]),
    )


def values_of(where: Where | None) -> list:
    """What the controls hold for it, in the order of FIELDS; None is what is painted, or the whole picture."""
    where = where or Where(MASK)
    feather = SUITS if where.feather is None else where.feather
    threshold = OWN_THRESHOLD if where.threshold is None else where.threshold
    return [
        SOURCE_LABELS[where.source], where.name or NAMES[0], where.number, where.only, feather, where.grow, where.invert,
        threshold, where.keep_colour, where.scoped,
    ]  # fmt: skip


def paste_fields(controls: dict, is_edit: Callable[[dict], bool]) -> list[PasteField]:
    """What the controls take from an infotext; what was painted can't be told. is_edit: whether one is that of an edit, which had no region
    where it tells none."""

    def pasted(place: int) -> Callable[[dict], Any]:
        def value(params: dict):
            where = where_of(params.get(field_name("region")))
            return values_of(where)[place] if where or is_edit(params) else None

        return value

    return [PasteField(controls[name], pasted(place)) for place, name in enumerate(FIELDS)]
