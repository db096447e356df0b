"""The row *LCM-LoRA* of the tab: where the WebUI has one, an edit in a few steps by it at one press, and the settings before at another."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import gradio as gr

from modules.ui_components import FormRow

from ..checkpoints.lora import is_of_sd1, says_lcm
from ..edit import Edit
from .models import chosen_defaults, packaged_chosen

# As LCM-LoRA's authors use it (arXiv 2311.05556); at an image scale of 1 a step is two rows of the network.
SETTINGS = {"sampler_name": "LCM", "scheduler": "SGM Uniform", "steps": 4, "text_scale": 2.0, "image_scale": 1.0, "speed": Edit.speed}
SAYING = ("ss_output_name", "modelspec.title", "modelspec.description", "modelspec.tags")  # of a file's metadata


def build() -> dict:
    """Its layout."""
    parts = {"before": gr.State(None)}
    with FormRow(elem_id="ip2p_lcm_row", visible=False) as parts["row"]:
        parts["lora"] = gr.Dropdown(
            [], label="LCM-LoRA", elem_id="ip2p_lcm_lora", info="An edit in 4 steps, 8 rows of the network in place of 60"
        )
        parts["lora"].do_not_save_to_config = True  # of what lies in a folder
        parts["use"] = gr.Button("Few steps by LCM", elem_id="ip2p_lcm", size="sm")
        parts["back"] = gr.Button("Settings before LCM", elem_id="ip2p_lcm_back", size="sm", visible=False)
    return parts


def found() -> list[str]:
    """Names, as prompts take them, of the LCM-LoRAs that the WebUI's own extension lists and that fit SD 1.x."""
    if packaged_chosen() or chosen_defaults().passes == 1:  # another network, or a student, which needs none
        return []
    networks = sys.modules.get("networks")  # of the extension Lora, which may be off
    names = []
    for entry in list(getattr(networks, "available_networks", {}).values()):
        said = [entry.name, entry.alias, *(str(entry.metadata.get(key, "")) for key in SAYING)]
        if says_lcm(said) and is_of_sd1(Path(entry.filename)):
            names.append(entry.get_alias())
    return sorted(names, key=str.lower)


def with_lora(text: str, name: str) -> str:
    """The instruction with this LoRA in every line, since each is an edit by itself."""
    tag = f"<lora:{name}:1>"
    lines = [without_lora(line, name) for line in text.splitlines()] or [""]
    return "\n".join(f"{line} {tag}".strip() if line or len(lines) == 1 else line for line in lines)


def without_lora(text: str, name: str) -> str:
    return "\n".join(re.sub(rf"\s*<lora:{re.escape(name)}(:[^<>]*)?>", "", line).strip() for line in text.splitlines())


def connect(parts: dict, events, prompt, controls: dict) -> None:
    """events: after which the row is to show what there is; controls: the tab's, by their name."""
    fields = [controls[name] for name in SETTINGS]
    lora, use, back, before = (parts[name] for name in ("lora", "use", "back", "before"))

    def show():
        names = found()
        return gr.update(visible=bool(names)), gr.update(choices=names, value=names[0] if names else None)

    def start(name: str, text: str, former: list | None, *values):
        """The settings before are those before the first press, not LCM's own of one before."""
        kept = former if former and values == (*SETTINGS.values(),) else [*values]
        return [with_lora(text, name), *SETTINGS.values(), kept, gr.update(visible=True)]

    def give_back(name: str, text: str, former: list | None):
        return [without_lora(text, name), *(former or [gr.update()] * len(fields)), None, gr.update(visible=False)]

    for event in events:
        event.then(fn=show, outputs=[parts["row"], lora], show_progress=False)
    outputs = [prompt, *fields, before, back]
    use.click(fn=start, inputs=[lora, prompt, before, *fields], outputs=outputs, show_progress=False)
    back.click(fn=give_back, inputs=[lora, prompt, before], outputs=outputs, show_progress=False)
