"""Ready instructions on the page: a kind of change, an instruction of it, and fields for its words."""

from __future__ import annotations

import gradio as gr

from ..errors import EditError
from ..presets import GROUPS, MOST_WORDS, chosen, filled, load, names_of


def build_ready(fields: dict[str, gr.Component], keep_scales: bool) -> None:
    """Lays them out; a choice fills the fields instruction, text_scale, image_scale, steps and detail.

    keep_scales: those of the ready instructions are the published checkpoint's, and the model wants its own."""
    presets = load()
    with gr.Accordion("Ready instructions", open=False, elem_id="ip2p_picker"):
        with gr.Row():
            group = gr.Dropdown(list(GROUPS), value=GROUPS[0], label="Kind of change", elem_id="ip2p_preset_group")
            name = gr.Dropdown(names_of(presets, GROUPS[0]), value=None, label="Ready instruction", elem_id="ip2p_preset_name")
        with gr.Row():
            words = [
                gr.Dropdown([], label=f"Choice {i + 1}", elem_id=f"ip2p_preset_word_{i + 1}", allow_custom_value=True, visible=False)
                for i in range(MOST_WORDS)
            ]
    hidden = gr.update(visible=False, choices=[], value=None)
    set_by_it = [fields[setting] for setting in ("instruction", "text_scale", "image_scale", "steps", "detail")]

    def show_group(group: str) -> list:
        return [gr.update(choices=names_of(presets, group), value=None), *[hidden] * MOST_WORDS]

    def pick(group: str, name: str) -> list:
        preset = chosen(presets, group, name)
        if preset is None:
            return [gr.skip()] * len(set_by_it) + [hidden] * MOST_WORDS
        shown = [
            gr.update(visible=True, label=word, choices=list(preset.choices.get(word, [])), value=preset.defaults[word])
            for word in preset.words[:MOST_WORDS]
        ]
        scales = [gr.skip()] * 2 if keep_scales else [preset.text_scale, preset.image_scale]
        return [preset.instruction_for(), *scales, preset.steps, preset.detail, *shown, *[hidden] * (MOST_WORDS - len(shown))]

    def fill(group: str, name: str, *texts: str) -> object:
        preset = chosen(presets, group, name)
        try:
            return filled(preset, texts) if preset else gr.skip()
        except EditError:  # a word half written
            return gr.skip()

    group.input(show_group, [group], [name, *words], api_name=False, show_progress="hidden")
    name.input(pick, [group, name], [*set_by_it, *words], api_name=False, show_progress="hidden")
    for word in words:
        word.input(fill, [group, name, *words], [fields["instruction"]], api_name=False, show_progress="hidden")
