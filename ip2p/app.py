"""The standalone page: what the official page of InstructPix2Pix offers, and a chain of edits. Ready to be a hosted Space.

    python -m ip2p app [--model …] [--port …]

As a Space: `app.py` with `from ip2p.app import build; build("timbrooks/instruct-pix2pix").launch()`, and `requirements.txt`
with this package and its extra `edit`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Event

import gradio as gr
from PIL import Image

from .chain import lines_of
from .checkpoints import small
from .edit import MAX_SEED, MAX_STEPS, Edit, random_scales
from .editor import SAMPLERS, Editor, Interrupted, Result
from .errors import EditError
from .images import fit, read_image

EXAMPLES = Path(__file__).with_name("examples")
TRY = (
    ("astronaut.jpg", "make it sepia"),
    ("chelsea.jpg", "make it winter"),
    ("coffee.jpg", "make it a pencil drawing"),
)  # fmt: skip
FIXED, DRAWN = "Fixed", "Random"
Step = tuple[Image.Image, Image.Image, str]  # of the chain: the picture it started from, its result, its instruction
STEPS, SEED = 50, 1371  # what the official page starts with, and its seed
CSS = """
#ip2p_app { max-width: 1200px; margin: 0 auto; }
#ip2p_history .caption-label { white-space: normal; }
"""


def build(model: str) -> gr.Blocks:
    """The page for one model, which is loaded with the first edit.

    model: as for `Editor.load`: a diffusers folder, a hub id, a single file, `small`.
    """

    defaults = small.defaults_for(model)
    stops: dict[str, Event] = {}  # of the edits that run, by the visitor's session

    @cache
    def editor():
        return Editor.load(model)

    def generate(
        picture, instruction, negative, steps, seed_mode, seed, scale_mode, text, image, sampler, chain,
        request: gr.Request, progress=gr.Progress(),  # noqa: B008
    ):  # fmt: skip
        session = request.session_hash or ""
        stop = stops[session] = Event()

        def on_step(step, total, latents):
            progress((step, total), unit="steps")
            return not stop.is_set()

        try:
            if picture is None:
                raise EditError("There is no picture to edit: drop one on the picture field first.")
            seed = random.randrange(100_000) if seed_mode == DRAWN else whole("seed", seed)
            if scale_mode == DRAWN:
                text, image = random_scales(seed)
            edit = Edit(
                image=read_image(picture), instruction=instruction, negative_prompt=negative, steps=whole("steps", steps), seed=seed,
                text_scale=number("text scale", text), image_scale=number("image scale", image), sampler_name=sampler,
                longest_side=defaults.longest_side,
            )  # fmt: skip
            progress(0, desc="Loading the model")
            results = editor().edit(edit, on_step=on_step)
        except EditError as e:
            raise gr.Error(str(e), print_exception=False) from e
        except Interrupted as e:
            results = e.results  # of the lines before the one that was stopped
            if not results:
                raise gr.Error(str(e), print_exception=False) from e
            gr.Warning(str(e))
        finally:
            stops.pop(session, None)
        chain = [*chain, *steps_of(edit, results)]
        last = results[-1]
        before = fit(edit.image, last.image.size)
        return (before, last.image), last.seed, last.text_scale, last.image_scale, chain, strip(chain), last.infotext

    def stop_edit(request: gr.Request):
        if request.session_hash in stops:
            stops[request.session_hash].set()

    def reset():
        return FIXED, SEED, FIXED, defaults.text_scale, defaults.image_scale, STEPS, "", "", None, None, [], [], ""

    def example():
        name, instruction = random.choice(TRY)
        return str(EXAMPLES / name), instruction

    with gr.Blocks(title="Instruct edit", analytics_enabled=False, elem_id="ip2p_app") as page:
        gr.Markdown(f"# Instruct edit\nEdit a picture by saying what to change.\n\n{about(model)}")
        chain = gr.State([])
        with gr.Row():
            with gr.Column():
                picture = gr.Image(label="Picture", type="filepath", elem_id="ip2p_image", height=380)
                instruction = gr.Textbox(
                    label="Instruction",
                    placeholder="make it winter",
                    info="Shift+Enter begins another line: each line edits the result of the one before",
                    elem_id="ip2p_prompt",
                )
                negative = gr.Textbox(label="Negative prompt", placeholder="what to keep out", elem_id="ip2p_neg_prompt")
                with gr.Row():
                    generate_button = gr.Button("Generate", variant="primary", elem_id="ip2p_generate")
                    stop = gr.Button("Stop", elem_id="ip2p_interrupt")
                with gr.Row():
                    example_button = gr.Button("Load example", elem_id="ip2p_example")
                    reset_button = gr.Button("Reset", elem_id="ip2p_reset")
            with gr.Column():
                compared = gr.ImageSlider(label="Before and after", type="pil", elem_id="ip2p_compare", height=380, interactive=False)
                with gr.Row():
                    use_button = gr.Button("Use result as picture", elem_id="ip2p_use_result")
                    back_button = gr.Button("Step back", elem_id="ip2p_history_back")
                history = gr.Gallery(label="Chain of edits", elem_id="ip2p_history", columns=4, height=180, fit_columns=False)
                infotext = gr.Textbox(label="Parameters", elem_id="ip2p_infotext", interactive=False, buttons=["copy"])
        with gr.Row():
            steps = gr.Slider(1, MAX_STEPS, STEPS, step=1, label="Steps", elem_id="ip2p_steps")
            sampler = gr.Dropdown(list(SAMPLERS), value="Euler a", label="Sampler", elem_id="ip2p_sampler")
        with gr.Row():
            seed_mode = gr.Radio([FIXED, DRAWN], value=FIXED, label="Seed is", elem_id="ip2p_seed_mode")
            seed = gr.Number(SEED, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="ip2p_seed")
            scale_mode = gr.Radio([FIXED, DRAWN], value=FIXED, label="Scales are", elem_id="ip2p_scale_mode")
            text = gr.Number(defaults.text_scale, label="Text scale", elem_id="ip2p_text_scale", info="How strongly the instruction acts")
            image = gr.Number(
                defaults.image_scale, label="Image scale", elem_id="ip2p_image_scale", info="How closely the result keeps to the picture"
            )
        gr.Examples(
            [[str(EXAMPLES / name), text] for name, text in TRY], inputs=[picture, instruction], label="Examples (public domain and CC0)"
        )

        inputs = [picture, instruction, negative, steps, seed_mode, seed, scale_mode, text, image, sampler, chain]
        outputs = [compared, seed, text, image, chain, history, infotext]
        gr.on([generate_button.click, instruction.submit], generate, inputs, outputs, api_name="edit")
        stop.click(stop_edit, queue=False)
        use_button.click(use_result, [chain], [picture])
        back_button.click(step_back, [chain], [picture, chain, history, instruction])
        example_button.click(example, None, [picture, instruction])
        reset_button.click(
            reset, None,
            [seed_mode, seed, scale_mode, text, image, steps, instruction, negative, picture, compared, chain, history, infotext],
        )  # fmt: skip
    page.queue()
    return page


def steps_of(edit: Edit, results: Sequence[Result]) -> list[Step]:
    """results: one of each line of the edit's instruction, the last ones missing where it was stopped."""
    pictures = [edit.image, *(result.image for result in results)]
    return [(picture, result.image, line.instruction) for picture, result, line in zip(pictures, results, lines_of(edit))]


def use_result(chain: Sequence[Step]) -> Image.Image:
    """The last result, to be the next picture."""
    if not chain:
        raise gr.Error("There is no result yet: edit a picture first.", print_exception=False)
    return chain[-1][1]


def step_back(chain: Sequence[Step]) -> tuple:
    """Takes the last step off: the picture it started from, the chain without it, its results to show, and its instruction."""
    if not chain:
        return gr.skip(), chain, [], gr.skip()
    *rest, (picture, _, instruction) = chain
    return picture, rest, strip(rest), instruction


def about(model: str) -> str:
    """Which model the page uses and how to get another, in Markdown."""
    if model == small.NAME:
        command = f"`python -m ip2p app --model {small.OFFICIAL}`"
        return f"This page uses the **small** checkpoint that comes with the package. {small.ABOUT} {small.PUBLISHED}: {command}."
    name = small.HUB if model == small.OFFICIAL else Path(model).name if Path(model).suffix or Path(model).is_dir() else model
    return f"This page uses **{name}**; `python -m ip2p app --model …` takes another."


def whole(name: str, value: float | None) -> int:
    """The value of a number field. Raises EditError when it is empty or has a fraction."""
    if value is None or value != int(value):
        raise EditError(f"The {name} must be a whole number.")
    return int(value)


def number(name: str, value: float | None) -> float:
    """The value of a number field. Raises EditError when it is empty."""
    if value is None:
        raise EditError(f"The {name} is empty: put a number there.")
    return float(value)


def strip(chain: Sequence[Step]) -> list[tuple[Image.Image, str]]:
    """The results of the chain with their instructions."""
    return [(result, instruction) for _, result, instruction in chain]
