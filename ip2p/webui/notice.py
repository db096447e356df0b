"""The line at the top of the tab: whether the loaded checkpoint edits, and how to come by one that does."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import gradio as gr

from modules import call_queue, sd_models, sd_samplers, shared
from modules.ui_components import FormRow

from ..checkpoints.defaults import ModelDefaults
from ..checkpoints.fetch import URL
from ..checkpoints.packaged import FAST, OWN, PUBLISHED, SMALL, Packaged
from ..errors import EditError
from . import former, greyed, loan, settings
from .models import (
    FROZEN,
    checkpoint_is_frozen,
    chosen_checkpoint,
    chosen_defaults,
    edits_once_loaded,
    found_defaults,
    load_checkpoint,
    model_status,
    packaged_chosen,
    randomise_label,
)

# Settings that a model names. Those that stand together are a person's own, and stay, once one of them is.
SUITED = ("longest_side", "text_scale", "image_scale", "steps"), ("sampler_name", "scheduler")


def build() -> dict:
    """The line's parts, by what they are for."""
    parts = {"line": gr.HTML(elem_id="ip2p_notice")}
    with FormRow(elem_id="ip2p_switch_row", visible=False) as parts["switch_row"]:
        parts["checkpoint"] = gr.Dropdown([], label="Edit checkpoints found", elem_id="ip2p_checkpoint")
        parts["switch"] = gr.Button("Use this checkpoint", elem_id="ip2p_use_checkpoint", variant="primary")
        parts["lend"] = gr.Checkbox(False, label="Load it for each edit only", info=loan.cost(), elem_id="ip2p_lend")
        parts["lend"].do_not_save_to_config = True  # it is of one checkpoint
    with FormRow(elem_id="ip2p_former_row", visible=False) as parts["former_row"]:
        parts["give_back"] = gr.Button("Give back", elem_id="ip2p_give_back", size="sm")
    parts["former"] = gr.Textbox(visible=False, elem_id="ip2p_former")
    with FormRow(elem_id="ip2p_install_row", visible=False) as parts["install_row"]:
        parts["install"] = gr.Button("Install the small edit model", elem_id="ip2p_install_small", variant="primary")
    parts["installed"] = gr.Textbox(visible=False, elem_id="ip2p_installed")
    parts["suits"] = gr.Textbox(visible=False, elem_id="ip2p_suits")
    parts["refresh"] = gr.Button(visible=False, elem_id="ip2p_refresh_notice")
    return parts


def connect(parts: dict, controls: dict, negative_prompt, load) -> list:
    """controls: the tab's, by their name; load: the event of the page's loading → the events after which another checkpoint may be loaded."""
    defaults = [controls[name] for together in SUITED for name in together]
    randomise, part = controls["randomise_scales"], controls["region_from"]
    by_passes = [negative_prompt, *(controls[name] for name in greyed.GREYED), part]
    shown = [parts[name] for name in ("line", "switch_row", "checkpoint", "lend", "install_row", "former_row", "give_back", "former")]
    suiting = [parts["suits"], randomise]
    suit = dict(fn=None, _js="ip2p_suit", inputs=[parts["suits"]], outputs=defaults)
    refreshed = [
        event(
            fn=lambda part, *values: notice() + suited(values, part), inputs=[part, *defaults], outputs=[*shown, *suiting, *by_passes],
            show_progress=False,
        )
        for event in (parts["refresh"].click, load)
    ]  # fmt: skip
    for answered in refreshed:
        answered.then(**suit)
    lend = [parts["checkpoint"], parts["lend"]]
    for chosen in lend:  # what suits the checkpoint that is lent
        chosen.input(
            fn=lambda title, lent, part, *values: suited(values, part, title if lent else None), inputs=[*lend, part, *defaults],
            outputs=[*suiting, *by_passes], show_progress=False,
        ).then(**suit)  # fmt: skip
    parts["switch"].click(fn=former.remember, show_progress=False).then(fn=None, _js="ip2p_use_checkpoint", inputs=[parts["checkpoint"]])
    parts["give_back"].click(fn=None, _js="ip2p_use_checkpoint", inputs=[parts["former"]])
    # The WebUI's own event for another checkpoint brings its list at the top of the page up to date.
    installed = parts["install"].click(
        fn=call_queue.wrap_queued_call(install),
        inputs=defaults,
        outputs=[parts["line"], parts["install_row"], parts["installed"], *suiting],
    )
    installed.then(**suit)  # and not one after the other: nothing follows what only the page does
    installed.then(fn=None, _js="ip2p_use_checkpoint", inputs=[parts["installed"]])
    return refreshed


def notice() -> list:
    """What the line says and which of its buttons are there."""
    status = model_status()
    if own := loan.own_title():  # a page that loads during another one's edit
        status |= {"model": own, "is_edit_model": False}
    checkpoints, offered = status["edit_checkpoints"], False
    if status["is_edit_model"] or edits_once_loaded():
        said, checkpoints = loaded_text(), []
    else:
        offered = not checkpoints and not checkpoint_is_frozen()
        loaded = f"“{html.escape(status['model'])}” is not an edit model" if status["model"] else "No checkpoint is loaded"
        what, *more = advice(checkpoints, offered)
        said = f"{loaded}: {what}", *more
    choice = gr.update(choices=checkpoints, value=checkpoints[0]) if checkpoints else gr.update()
    lend = gr.update(info=loan.cost()) if checkpoints else gr.update(value=False)
    back = former.offered(status["is_edit_model"])
    return [
        line(*said),
        gr.update(visible=bool(checkpoints)),
        choice,
        lend,
        gr.update(visible=offered),
        gr.update(visible=bool(back)),
        f"Give back “{back}”",
        back,
    ]


def suited(values: Sequence, part: str, lent: str | None = None) -> list:
    """The model's own settings where the tab's are those of another one and nobody's (`suits`), what Randomise draws from, and what is greyed.
    values: of the controls by `SUITED`; part: of the one that says which part is edited; lent: the checkpoint that edits in place of the loaded one."""
    in_new_tab = settings.usual_defaults()
    of_model = chosen_defaults(lent)
    wanted = in_new_tab if of_model == ModelDefaults() else of_model
    now, own = dict(zip(sum(SUITED, ()), values)), shown_settings(wanted)
    someones = [shown_settings(defaults) for defaults in (in_new_tab, ModelDefaults(), *found_defaults())]
    nobodys = [together for together in SUITED if any(all(now[name] == one[name] for name in together) for one in someones)]
    return [suits(now, own, nobodys), randomising(of_model), *greyed.greyed_for(of_model.passes, part)]


def suits(now: Mapping, own: Mapping, groups: Sequence[Sequence[str]] = SUITED) -> str:
    """For the page's script, as JSON, of every control in the order of `SUITED`: its group's number, its value, and what it is to be.
    A group in which something was set meanwhile stays as it is."""
    return json.dumps([
        [number, now[name], own[name] if together in groups else now[name]] for number, together in enumerate(SUITED) for name in together
    ])  # fmt: skip


def shown_settings(defaults: ModelDefaults) -> dict:
    """A model's settings as the tab has them: a sampler that the host hides is none of its choices."""
    sampler = defaults.sampler_name if defaults.sampler_name in sd_samplers.visible_sampler_names() else settings.usual_sampler()
    return defaults.settings | {"sampler_name": sampler}


def randomising(defaults: ModelDefaults) -> dict:
    return gr.update(label=randomise_label(defaults))


def advice(checkpoints: Sequence[str], offered: bool) -> tuple[str, ...]:
    """What to do, and more about it. offered: whether the small checkpoint is, since there is no other."""
    if checkpoints:
        return ("choose one of the edit checkpoints that were found.",)
    folder = html.escape(str(checkpoint_folder()))
    if not offered:
        return (f"put an InstructPix2Pix checkpoint into {folder} and refresh the checkpoint list at the top of the page.",)
    size = sum(own.file.stat().st_size for own in OWN) / 1e6
    return (
        f"install the small one that comes with this extension, {size:.0f} MB with its fast version and no download.",
        f"{SMALL.about} Or put an InstructPix2Pix checkpoint into {folder} and refresh the checkpoint list at the top of the page.",
    )


def loaded_text() -> tuple[str, ...]:
    """What there is to say of the edit checkpoint that is loaded, or about to be."""
    if own := packaged_chosen():
        return packaged_text(own)
    return greyed.text(chosen_checkpoint().name_for_extra) if chosen_defaults().passes == 1 else ("",)


def packaged_text(own: Packaged) -> tuple[str, str]:
    suited = own.defaults
    other = f"“{FAST.in_webui}” does nearly the same in {FAST.defaults.steps} steps of one pass." if own == SMALL else greyed.WHAT
    return (
        f"“{own.in_webui}” is {own.called} that comes with this extension.",
        f"What suits it: “Longest side” {suited.longest_side}, “Text scale” {suited.text_scale:g}, “Image scale” "
        f"{suited.image_scale:g}. {own.about} {other} {PUBLISHED}: <a href='{URL}'>download it</a> into "
        f"{html.escape(str(checkpoint_folder()))}.",
    )


def install(*values) -> list:
    """Puts the package's checkpoints into the WebUI's folder and loads the small one: the line, the button, its title for the WebUI's page, and the
    settings that suit it. A failure is a sentence in the line, and the button stays."""
    try:
        if checkpoint_is_frozen():
            raise EditError(FROZEN)
        former.remember()
        file, _ = (own.install(checkpoint_folder()) for own in OWN)
        title = load(file)
    except EditError as e:
        return [line(html.escape(str(e)), error=True), gr.update(), "", "", gr.update()]
    now = dict(zip(sum(SUITED, ()), values))
    return [
        line(*packaged_text(SMALL)),
        gr.update(visible=False),
        title,
        suits(now, shown_settings(SMALL.defaults)),
        randomising(SMALL.defaults),
    ]


def load(file: Path) -> str:
    """Loads a checkpoint file that is new in the folder; its title. The page chooses it then, so that the WebUI's own event writes its
    setting. Raises EditError, with the former checkpoint loaded again."""
    sd_models.list_models()
    info = next((info for info in sd_models.checkpoints_list.values() if Path(info.filename).resolve() == file.resolve()), None)
    if info is None:
        raise EditError(f"{file} is there, but the WebUI does not list it: refresh the checkpoint list at the top of the page.")
    load_checkpoint(info)
    return info.title


def line(what: str, more: str = "", error: bool = False) -> str:
    """As HTML: one line with its ×; more: shown on a press."""
    if not what:
        return ""
    said = f"<details><summary>{what}</summary>{more}</details>" if more else f"<span>{what}</span>"
    return f"<div class='ip2p-notice{' error' * error}'>{said}<button type='button' aria-label='Close'>×</button></div>"


def checkpoint_folder() -> Path:
    return Path(shared.cmd_opts.ckpt_dir or sd_models.model_path)
