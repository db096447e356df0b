"""The row of cards above the ready instructions, what a ready instruction says of where it acts, and variations side by side."""

from __future__ import annotations

import gradio as gr

from modules.ui_components import FormRow

from ..presets import CARDS, NO_WORD, chosen, names_of, preset_named, variations_of, words_with_choices
from ..segmentation import missing
from ..wording import VARY, VARY_LINES, VARY_NOTE, VARY_WORD
from . import region_controls
from .picker import presets


def build() -> dict:
    """Its layout."""
    c = {}
    with FormRow(elem_id="ip2p_cards"):
        c["cards"] = {label: gr.Button(label, size="sm", elem_id=f"ip2p_card_{label.lower()}") for label in CARDS}
    with gr.Accordion(VARY, open=False, elem_id="ip2p_vary"):
        c["word"] = gr.Dropdown([NO_WORD], value=NO_WORD, label=VARY_WORD, elem_id="ip2p_vary_word")
        c["variations"] = gr.Textbox("", lines=2, label=VARY_LINES, elem_id="ip2p_variations")
        gr.HTML(f"<p>{VARY_NOTE}.</p>")
    for part in (c["word"], c["variations"]):
        part.do_not_save_to_config = True  # they belong to a ready instruction
    return c


def connect(c: dict, ready: dict, picking: dict, controls: dict) -> None:
    """ready: the picker's parts; picking: its event, which fills the fields of the chosen instruction; controls: the tab's."""
    regions = [controls[name] for name in region_controls.FIELDS]

    def choose(label: str):
        def card(request: gr.Request):
            known = presets(request.username)
            preset = preset_named(CARDS[label], known)
            return gr.update(value=preset.group), gr.update(choices=names_of(known, preset.group), value=preset.name)

        return card

    def shown(group: str, name: str, request: gr.Request):
        """Where the chosen instruction acts, and the words that there are choices of."""
        preset = chosen(presets(request.username), group, name)
        if preset is None:
            return [gr.update()] * (len(regions) + 2)
        return [
            *region_controls.values_of(None if missing(preset.region) else preset.where),
            gr.update(choices=words_with_choices(preset), value=NO_WORD),
            "",
        ]

    after = dict(fn=shown, inputs=[ready["group"], ready["name"]], outputs=[*regions, c["word"], c["variations"]], show_progress=False)
    ready["name"].input(**after)
    for label, button in c["cards"].items():
        chain = button.click(fn=choose(label), outputs=[ready["group"], ready["name"]], show_progress=False)
        chain.then(**picking).then(**after)
    words = dict(inputs=[ready["group"], ready["name"], c["word"], *ready["words"]], outputs=[c["variations"]], show_progress=False)

    def vary(group: str, name: str, word: str, first: str, second: str, third: str, request: gr.Request):
        return variations_of(chosen(presets(request.username), group, name), word, (first, second, third))

    for field in (c["word"], *ready["words"]):
        field.input(fn=vary, **words)
