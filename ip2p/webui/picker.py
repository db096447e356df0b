"""The picker of ready instructions in the tab, and saving one's own."""

from __future__ import annotations

import html

import gradio as gr

from modules.ui_components import FormRow

from ..errors import EditError
from ..presets import GROUPS, MOST_WORDS, OWN_GROUP, Preset, chosen, delete_own, filled, folder_of, groups_of, load, names_of, save_own
from .folder import KEPT
from .models import small_is_chosen

LISTED = "all are at /instruct-edit/v1/presets"  # where a person finds every key


def presets(user: str | None = None) -> dict[str, Preset]:
    """By key: the shipped ones and the user's own. user: the name they logged in with; None where nobody does."""
    return load(folder_of(KEPT, user))


def build() -> dict:
    """Its layout."""
    p = {}
    with gr.Accordion("Ready instructions", open=False, elem_id="ip2p_picker"):
        with FormRow():
            p["group"] = gr.Dropdown(groups_of(presets()), value=GROUPS[0], label="Kind of change", elem_id="ip2p_preset_group")
            p["name"] = gr.Dropdown(names_of(presets(), GROUPS[0]), value=None, label="Ready instruction", elem_id="ip2p_preset_name")
        with FormRow():
            p["words"] = [
                gr.Dropdown([], label=f"Choice {i + 1}", elem_id=f"ip2p_preset_word_{i + 1}", allow_custom_value=True, visible=False)
                for i in range(MOST_WORDS)
            ]
        with FormRow():
            p["own_name"] = gr.Textbox("", label="Name of one's own", elem_id="ip2p_preset_own_name", placeholder="Name of your own preset",
                                       show_label=False)  # fmt: skip
            p["save"] = gr.Button("Save instruction and scales", elem_id="ip2p_preset_save", size="sm")
            p["delete"] = gr.Button("Delete the chosen one", elem_id="ip2p_preset_delete", size="sm")
        p["message"] = gr.HTML(elem_id="ip2p_preset_message")
    for part in (p["group"], p["name"], *p["words"], p["own_name"]):
        part.do_not_save_to_config = True  # a way to fill other controls, not a setting
    return p


def connect(p: dict, prompt, controls: dict) -> dict:
    """→ the event that fills the fields of the chosen instruction. Choosing fills the instruction, the steps, the detail and, except for the small checkpoint, the scales; every choice of a word fills them anew."""
    fields = [prompt, *(controls[name] for name in ("text_scale", "image_scale", "steps", "detail"))]

    def show_group(group: str, request: gr.Request):
        return gr.update(choices=names_of(presets(request.username), group), value=None)

    def pick(group: str, name: str, request: gr.Request):
        preset = chosen(presets(request.username), group, name)
        if preset is None:
            return [gr.update()] * len(fields) + [gr.update(visible=False)] * MOST_WORDS
        words = [
            gr.update(visible=True, label=word, choices=list(preset.choices.get(word, [])), value=preset.defaults[word])
            for word in preset.words[:MOST_WORDS]
        ]
        words += [gr.update(visible=False)] * (MOST_WORDS - len(words))
        suit = preset.group == OWN_GROUP or not small_is_chosen()  # ours are the published checkpoint's
        scales = [preset.text_scale, preset.image_scale] if suit else [gr.update()] * 2
        return [preset.instruction_for(), *scales, preset.steps, preset.detail, *words]

    def fill(request: gr.Request, group: str, name: str, *words: str):
        preset = chosen(presets(request.username), group, name)
        if preset is None:
            return gr.update()
        try:
            return filled(preset, words)
        except EditError:
            return gr.update()

    def listed(group: str, value: str | None, user: str | None):
        """The two lists, with this group and this preset of it chosen."""
        known = presets(user)
        return gr.update(choices=groups_of(known), value=group), gr.update(choices=names_of(known, group), value=value)

    def save(name: str, instruction: str, text_scale: float, image_scale: float, steps: float, request: gr.Request):
        try:
            literal = instruction.replace("{", "(").replace("}", ")")
            preset = Preset(name, literal, text_scale=text_scale, image_scale=image_scale, steps=int(steps))
            saved = save_own(folder_of(KEPT, request.username), preset)
        except EditError as e:
            return error(e), gr.update(), gr.update()
        message = f"Saved as “{html.escape(saved.name)}”: it is under “{OWN_GROUP}”."
        return message, *listed(OWN_GROUP, saved.name, request.username)

    def delete(group: str, name: str, request: gr.Request):
        try:
            preset = chosen(presets(request.username), group, name)
            if preset is None or not preset.own:
                raise EditError(f"Choose one of your own first, for example under “{OWN_GROUP}”: only those can be deleted.")
            delete_own(folder_of(KEPT, request.username), preset.key)
        except EditError as e:
            return error(e), gr.update(), gr.update()
        group = group if group in groups_of(presets(request.username)) else OWN_GROUP
        return f"Deleted “{html.escape(preset.name)}”.", *listed(group, None, request.username)

    lists = [p["message"], p["group"], p["name"]]
    p["group"].input(fn=show_group, inputs=[p["group"]], outputs=[p["name"]], show_progress=False)
    picking = dict(fn=pick, inputs=[p["group"], p["name"]], outputs=[*fields, *p["words"]], show_progress=False)
    p["name"].input(**picking)
    for word in p["words"]:
        word.input(fn=fill, inputs=[p["group"], p["name"], *p["words"]], outputs=[prompt], show_progress=False)
    p["save"].click(fn=save, inputs=[p["own_name"], *fields[:-1]], outputs=lists, show_progress=False)
    p["delete"].click(fn=delete, inputs=[p["group"], p["name"]], outputs=lists, show_progress=False)
    return picking


def error(e: EditError) -> str:
    return f"<div class='error'>{html.escape(str(e))}</div>"
