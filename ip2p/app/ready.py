"""Ready instructions on the page: a kind of change, an instruction of it, fields for its words, variations, and those of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ..checkpoints.defaults import ModelDefaults
from ..errors import EditError
from ..presets import (
    CARDS,
    GROUPS,
    MOST_WORDS,
    NO_WORD,
    Preset,
    chosen,
    filled,
    folder_of,
    groups_of,
    keeping,
    load,
    names_of,
    preset_named,
    variations_of,
    words_with_choices,
)
from ..segmentation import missing
from ..wording import VARY, VARY_LINES, VARY_NOTE, VARY_WORD
from .said import said
from .settings_fields import PAINTED, number

FILLED = ("instruction", "text_scale", "image_scale", "steps", "detail", "region", "only", "variations")


class Ready:
    """Their fields; a choice fills those of `FILLED` but, unless it is one's own, for those that the model `keeps`.

    defaults: of the model. own: the folder in which those of one's own are kept, of each user who logs in apart; without one there are none.
    """

    def __init__(self, fields: dict[str, gr.Component], defaults: ModelDefaults, own: Path | None):
        self.fields, self.defaults, self.own = fields, defaults, own
        with gr.Row(elem_id="ip2p_cards"):
            cards = {label: gr.Button(label, size="sm", min_width=80, elem_id=f"ip2p_card_{label.lower()}") for label in CARDS}
        with gr.Accordion("Ready instructions", open=False, elem_id="ip2p_picker"):
            with gr.Row():
                known = groups_of(load()) if own else list(GROUPS)
                self.group = gr.Dropdown(known, value=GROUPS[0], label="Kind of change", elem_id="ip2p_preset_group")
                self.name = gr.Dropdown(names_of(load(), GROUPS[0]), value=None, label="Ready instruction", elem_id="ip2p_preset_name")
            with gr.Row():
                self.words = [
                    gr.Dropdown([], label=f"Choice {i + 1}", elem_id=f"ip2p_preset_word_{i + 1}", allow_custom_value=True, visible=False)
                    for i in range(MOST_WORDS)
                ]
            if own:
                self.lay_out_own()
        with gr.Accordion(VARY, open=False, elem_id="ip2p_vary"):
            self.word = gr.Dropdown([NO_WORD], value=NO_WORD, label=VARY_WORD, elem_id="ip2p_vary_word")
            fields["variations"] = gr.Textbox("", lines=2, max_lines=12, label=VARY_LINES, info=VARY_NOTE, elem_id="ip2p_variations")
        self.connect(cards)

    def lay_out_own(self) -> None:
        with gr.Row():
            new_name = gr.Textbox(
                "", label=keeping.NAME_FIELD, placeholder=keeping.NAME_PLACEHOLDER, elem_id="ip2p_preset_own_name", max_lines=1
            )
            with gr.Column(min_width=240, elem_id="ip2p_preset_buttons"):
                buttons = [
                    gr.Button(label, size="sm", elem_id=f"ip2p_preset_{name}")
                    for name, label in (("save", keeping.SAVE), ("rename", keeping.RENAME), ("delete", keeping.DELETE))
                ]
        message = gr.HTML(elem_id="ip2p_preset_message")
        settings = [self.fields[name] for name in ("instruction", "text_scale", "image_scale", "steps")]
        chosen_now = [self.group, self.name]
        given = ([new_name, *settings], [*chosen_now, new_name], chosen_now)
        acts: tuple[Callable[..., keeping.Done], ...] = (self.save, keeping.rename, keeping.delete)
        for button, act, inputs in zip(buttons, acts, given):
            button.click(self.keep(act), inputs, [message, self.group, self.name, *self.words], **QUIET)

    def connect(self, cards: dict[str, gr.Button]) -> None:
        group, name, words = self.group, self.name, self.words
        filled_in = [*(self.fields[setting] for setting in FILLED), self.word, *words]
        group.input(self.listed, [group], [name, *words], **QUIET)
        name.input(self.picked, [group, name], filled_in, **QUIET)
        for label, button in cards.items():
            button.click(self.card(label), None, [group, name, *filled_in], **QUIET)
        for word in words:
            word.input(self.worded, [group, name, *words], [self.fields["instruction"]], **QUIET)
        for field in (self.word, *words):
            field.input(self.varied, [group, name, self.word, *words], [self.fields["variations"]], **QUIET)

    def presets(self, request: gr.Request | None) -> dict[str, Preset]:
        """By key: the shipped ones and the user's own."""
        return load(self.folder(request) if self.own else None)

    def folder(self, request: gr.Request | None) -> Path:
        assert self.own
        return folder_of(self.own, getattr(request, "username", None))

    def listed(self, group: str, request: gr.Request) -> list:
        """The instructions of a kind, none of them chosen, and no words."""
        return [gr.update(choices=names_of(self.presets(request), group), value=None), *hidden(MOST_WORDS)]

    def card(self, label: str) -> Callable[[gr.Request], list]:
        """What a card does: its kind and its instruction, and what `picked` gives."""

        def dealt(request: gr.Request) -> list:
            known = self.presets(request)
            preset = preset_named(CARDS[label], known)
            return [preset.group, gr.update(choices=names_of(known, preset.group), value=preset.name), *self.fill(preset)]

        return dealt

    def picked(self, group: str, name: str, request: gr.Request) -> list:
        """Of an instruction what `FILLED` takes, the words that may be varied, and its words with their choices."""
        preset = chosen(self.presets(request), group, name)
        return self.fill(preset) if preset else [*[gr.skip()] * (len(FILLED) + 1), *hidden(MOST_WORDS)]

    def fill(self, preset: Preset) -> list:
        shown = [
            gr.update(visible=True, label=word, choices=list(preset.choices.get(word, [])), value=preset.defaults[word])
            for word in preset.words[:MOST_WORDS]
        ]
        where = None if missing(preset.region) else preset.where
        region = [where.name, where.only] if where else [PAINTED, False]
        vary = gr.update(choices=words_with_choices(preset), value=NO_WORD)
        keeps = () if preset.own else self.defaults.keeps
        settings = [gr.skip() if name in keeps else getattr(preset, name) for name in ("text_scale", "image_scale", "steps", "detail")]
        return [preset.instruction_for(), *settings, *region, "", vary, *shown, *hidden(MOST_WORDS - len(shown))]

    def worded(self, group: str, name: str, first: str, second: str, third: str, request: gr.Request) -> object:
        """The instruction with these words in it; as it is where one of them can't be taken."""
        preset = chosen(self.presets(request), group, name)
        try:
            return filled(preset, (first, second, third)) if preset else gr.skip()
        except EditError:
            return gr.skip()

    def varied(self, group: str, name: str, word: str, first: str, second: str, third: str, request: gr.Request) -> str:
        """An instruction with every choice of the word, one a line."""
        return variations_of(chosen(self.presets(request), group, name), word, (first, second, third))

    def save(self, folder: Path, name: str, instruction: str, text_scale: Any, image_scale: Any, steps: Any) -> keeping.Done:
        scales = number("text scale", text_scale), number("image scale", image_scale)
        return keeping.save(folder, name, instruction, *scales, number("steps", steps))

    def keep(self, act: Callable[..., keeping.Done]) -> Callable[..., list]:
        """What a button does → what there is to say, the two lists with what is chosen now, and no words: one's own have none."""

        def run(request: gr.Request, *given: Any) -> list:
            try:
                now = act(self.folder(request), *given)
            except EditError as e:
                return [said(str(e)), *[gr.skip()] * (2 + MOST_WORDS)]
            known = self.presets(request)
            lists = gr.update(choices=groups_of(known), value=now.group), gr.update(choices=names_of(known, now.group), value=now.name)
            return [said(now.sentence), *lists, *hidden(MOST_WORDS)]

        return run


QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def hidden(fields: int) -> list:
    return [gr.update(visible=False, choices=[], value=None)] * fields
