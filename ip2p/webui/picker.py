"""The picker of ready instructions in the tab, and saving one's own."""

from __future__ import annotations

import html

import gradio as gr

from modules.ui_components import FormRow

from ..errors import EditError
from ..presets import (
    GROUPS,
    MOST_WORDS,
    OWN_GROUP,
    Preset,
    chosen,
    filled,
    folder_of,
    groups_known,
    groups_of,
    keeping,
    load,
    names_of,
)
from .folder import KEPT
from .models import chosen_defaults, chosen_knows

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
        p["suits"] = gr.HTML(elem_id="ip2p_preset_suits")
        with FormRow():
            p["words"] = [
                gr.Dropdown([], label=f"Choice {i + 1}", elem_id=f"ip2p_preset_word_{i + 1}", allow_custom_value=True, visible=False)
                for i in range(MOST_WORDS)
            ]
        with FormRow():
            p["own_name"] = gr.Textbox("", label=keeping.NAME_FIELD, elem_id="ip2p_preset_own_name", placeholder=keeping.NAME_PLACEHOLDER,
                                       show_label=False)  # fmt: skip
            p["save"] = gr.Button(keeping.SAVE, elem_id="ip2p_preset_save", size="sm")
        with FormRow():
            p["rename"] = gr.Button(keeping.RENAME, elem_id="ip2p_preset_rename", size="sm")
            p["delete"] = gr.Button(keeping.DELETE, elem_id="ip2p_preset_delete", size="sm")
        p["message"] = gr.HTML(elem_id="ip2p_preset_message")
    for part in (p["group"], p["name"], *p["words"], p["own_name"]):
        part.do_not_save_to_config = True  # a way to fill other controls, not a setting
    return p


def connect(p: dict, prompt, controls: dict) -> dict:
    """→ the event that fills the fields of the chosen instruction. Choosing fills the instruction, the scales, the steps and the detail; every choice of a word fills them anew."""
    fields = [prompt, *(controls[name] for name in ("text_scale", "image_scale", "steps", "detail"))]

    no_words = [gr.update(visible=False)] * MOST_WORDS  # fields of another preset, which would change nothing

    def show_group(group: str, request: gr.Request):
        return [gr.update(choices=names_of(presets(request.username), group), value=None), suits(group), *no_words]

    def pick(group: str, name: str, request: gr.Request):
        preset = chosen(presets(request.username), group, name)
        if preset is None:
            return [*[gr.update()] * len(fields), *no_words]
        words = [
            gr.update(visible=True, label=word, choices=list(preset.choices.get(word, [])), value=preset.defaults[word])
            for word in preset.words[:MOST_WORDS]
        ]
        words += [gr.update(visible=False)] * (MOST_WORDS - len(words))
        return [preset.instruction_for(), *chosen_defaults().ready(preset).values(), *words]

    def fill(request: gr.Request, group: str, name: str, *words: str):
        preset = chosen(presets(request.username), group, name)
        if preset is None:
            return gr.update()
        try:
            return filled(preset, words)
        except EditError:
            return gr.update()

    def listed(group: str, value: str | None, user: str | None):
        """The two lists, with this group and this preset of it chosen, and no words to fill in: one's own have none."""
        known = presets(user)
        return (
            gr.update(choices=groups_of(known), value=group),
            gr.update(choices=names_of(known, group), value=value),
            suits(group),
            *no_words,
        )

    def save(name: str, instruction: str, text_scale: float, image_scale: float, steps: float, request: gr.Request):
        return done(request, keeping.save, name, instruction, text_scale, image_scale, steps)

    def rename(group: str, name: str, new_name: str, request: gr.Request):
        return done(request, keeping.rename, group, name, new_name)

    def delete(group: str, name: str, request: gr.Request):
        return done(request, keeping.delete, group, name)

    def done(request: gr.Request, act, *given):
        try:
            now = act(folder_of(KEPT, request.username), *given)
        except EditError as e:
            return [error(e), *[gr.update()] * (len(lists) - 1)]
        return [html.escape(now.sentence), *listed(now.group, now.name, request.username)]

    lists = [p["message"], p["group"], p["name"], p["suits"], *p["words"]]
    p["group"].input(fn=show_group, inputs=[p["group"]], outputs=[p["name"], p["suits"], *p["words"]], show_progress=False)
    picking = dict(fn=pick, inputs=[p["group"], p["name"]], outputs=[*fields, *p["words"]], show_progress=False)
    p["name"].input(**picking)
    for word in p["words"]:
        word.input(fn=fill, inputs=[p["group"], p["name"], *p["words"]], outputs=[prompt], show_progress=False)
    p["save"].click(fn=save, inputs=[p["own_name"], *fields[:-1]], outputs=lists, show_progress=False)
    p["rename"].click(fn=rename, inputs=[p["group"], p["name"], p["own_name"]], outputs=lists, show_progress=False)
    p["delete"].click(fn=delete, inputs=[p["group"], p["name"]], outputs=lists, show_progress=False)
    return picking


def suits(group: str) -> str:
    """A line at a kind of change that is none of those the model names; models that name none are told nothing about."""
    name, known = chosen_knows()
    if not known or group == OWN_GROUP or group in groups_known(presets(), known):
        return ""
    return f"“{html.escape(name)}” was not made for this. What it knows: {html.escape(', '.join(known))}."


def error(e: EditError) -> str:
    return f"<div class='error'>{html.escape(str(e))}</div>"
