"""Ready instructions on the page: a kind of change, an instruction of it, and fields for its words."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import gradio as gr

from ..errors import EditError
from ..presets import CARDS, GROUPS, MOST_WORDS, chosen, filled, load, names_of, preset_named
from ..segmentation import missing
from .settings_fields import PAINTED

FILLED = ("instruction", "text_scale", "image_scale", "steps", "detail", "region", "only")


def build_ready(fields: dict[str, gr.Component], keeps: Collection[str]) -> None:
    """Lays them out; a choice fills the fields of `FILLED` but for those that the model `keeps`."""
    with gr.Row(elem_id="ip2p_cards"):
        cards = {label: gr.Button(label, size="sm", min_width=80, elem_id=f"ip2p_card_{label.lower()}") for label in CARDS}
    with gr.Accordion("Ready instructions", open=False, elem_id="ip2p_picker"):
        with gr.Row():
            group = gr.Dropdown(list(GROUPS), value=GROUPS[0], label="Kind of change", elem_id="ip2p_preset_group")
            name = gr.Dropdown(names_of(load(), GROUPS[0]), value=None, label="Ready instruction", elem_id="ip2p_preset_name")
        with gr.Row():
            words = [
                gr.Dropdown([], label=f"Choice {i + 1}", elem_id=f"ip2p_preset_word_{i + 1}", allow_custom_value=True, visible=False)
                for i in range(MOST_WORDS)
            ]
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    group.input(listed, [group], [name, *words], **quiet)
    name.input(partial(picked, keeps), [group, name], [*(fields[setting] for setting in FILLED), *words], **quiet)
    for label, button in cards.items():
        button.click(partial(dealt, keeps, label), None, [group, name, *(fields[setting] for setting in FILLED), *words], **quiet)
    for word in words:
        word.input(worded, [group, name, *words], [fields["instruction"]], **quiet)


def listed(group: str) -> list:
    """The instructions of a kind, none of them chosen, and no words."""
    return [gr.update(choices=names_of(load(), group), value=None), *hidden(MOST_WORDS)]


def dealt(keeps: Collection[str], label: str) -> list:
    """Of a card its kind and its instruction, and what `picked` gives."""
    preset = preset_named(CARDS[label], load())
    names = gr.update(choices=names_of(load(), preset.group), value=preset.name)
    return [preset.group, names, *picked(keeps, preset.group, preset.name)]


def picked(keeps: Collection[str], group: str, name: str) -> list:
    """Of an instruction what `FILLED` takes, and its words with their choices."""
    preset = chosen(load(), group, name)
    if preset is None:
        return [gr.skip()] * len(FILLED) + hidden(MOST_WORDS)
    shown = [
        gr.update(visible=True, label=word, choices=list(preset.choices.get(word, [])), value=preset.defaults[word])
        for word in preset.words[:MOST_WORDS]
    ]
    sets = [gr.skip() if name in keeps else getattr(preset, name) for name in ("text_scale", "image_scale", "steps", "detail")]
    where = None if missing(preset.region) else preset.where
    region = [where.name, where.only] if where else [PAINTED, False]
    return [preset.instruction_for(), *sets, *region, *shown, *hidden(MOST_WORDS - len(shown))]


def worded(group: str, name: str, *texts: str) -> object:
    """The instruction with these words in it; as it is where one of them can't be taken."""
    preset = chosen(load(), group, name)
    try:
        return filled(preset, texts) if preset else gr.skip()
    except EditError:
        return gr.skip()


def hidden(fields: int) -> list:
    return [gr.update(visible=False, choices=[], value=None)] * fields
