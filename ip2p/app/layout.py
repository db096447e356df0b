"""What the page looks like."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from ..checkpoints import small
from ..edit import FULL, MAX_SEED, MAX_STEPS, OWN_SIZE, WORKING
from ..editor import SAMPLERS
from .events import DETAIL, DRAWN, EXAMPLES, FIXED, SEED, STEPS, TRY, Events, example, step_back, use_result
from .uploads import GuardedBlocks

RESULTS = [("Full size, with the photograph's detail", FULL), ("Enlarged", OWN_SIZE), ("Working size", WORKING)]
CSS = """
#ip2p_app { max-width: 1200px; margin: 0 auto; }
#ip2p_history .caption-label { white-space: normal; }
"""


def build(model: str) -> gr.Blocks:
    """The page for one model, which is loaded with the first edit.

    model: as for `Editor.load`: a diffusers folder, a hub id, a single file, `small`.
    """

    events = Events(model)
    defaults = events.defaults

    with GuardedBlocks(title="Instruct edit", analytics_enabled=False, elem_id="ip2p_app") as page:
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
                compared = gr.ImageSlider(label="Before and after", type="filepath", elem_id="ip2p_compare", height=380, interactive=False)
                with gr.Row():
                    use_button = gr.Button("Use result as picture", elem_id="ip2p_use_result")
                    back_button = gr.Button("Step back", elem_id="ip2p_history_back")
                download_button = gr.DownloadButton("Download the result", elem_id="ip2p_download")
                result = gr.Radio(RESULTS, value=FULL, label="Result", elem_id="ip2p_result")
                detail = gr.Slider(
                    0, 1, DETAIL, step=0.05, label="Keep the photograph's detail", elem_id="ip2p_detail",
                    info="In a full result: 0 only enlarges the edit, 1 keeps all detail. Moving it needs no new edit",
                )  # fmt: skip
                history = gr.Gallery(label="Chain of edits", elem_id="ip2p_history", columns=4, height=180, fit_columns=False)
                infotext = gr.Textbox(label="Parameters", elem_id="ip2p_infotext", interactive=False, buttons=["copy"])
        with gr.Row():
            steps = gr.Slider(1, MAX_STEPS, STEPS, step=1, label="Steps", elem_id="ip2p_steps")
            sampler = gr.Dropdown(list(SAMPLERS), value="Euler a", label="Sampler", elem_id="ip2p_sampler")
        with gr.Row():
            seed_mode = gr.Radio([FIXED, DRAWN], value=FIXED, label="Seed is", elem_id="ip2p_seed_mode")
            seed = gr.Number(SEED, label="Seed", step=1, minimum=0, maximum=MAX_SEED, elem_id="ip2p_seed")
            scale_mode = gr.Radio([FIXED, DRAWN], value=FIXED, label="Scales are", elem_id="ip2p_scale_mode")
            text = gr.Number(defaults.text_scale, label="Text scale", elem_id="ip2p_text_scale", info="How strongly the instruction acts")
            image = gr.Number(
                defaults.image_scale, label="Image scale", elem_id="ip2p_image_scale", info="How closely the result keeps to the picture"
            )
        gr.Examples(
            [[str(EXAMPLES / name), text] for name, text in TRY], inputs=[picture, instruction], label="Examples (public domain and CC0)"
        )

        inputs = [picture, instruction, negative, steps, seed_mode, seed, scale_mode, text, image, sampler, result, detail, chain]
        outputs = [compared, seed, text, image, chain, history, infotext, download_button]
        gr.on([generate_button.click, instruction.submit], events.generate, inputs, outputs, api_name="edit", preprocess=False)
        gr.on(
            [detail.release, result.input], events.again, [result, detail, chain], [compared, chain, history, infotext, download_button],
            api_name="again", preprocess=False, trigger_mode="always_last",
        )  # fmt: skip
        stop.click(events.stop_edit, queue=False)
        use_button.click(use_result, [chain], [picture])
        back_button.click(step_back, [chain], [picture, chain, history, instruction])
        example_button.click(example, None, [picture, instruction])
        reset_button.click(
            events.reset, None,
            [
                seed_mode, seed, scale_mode, text, image, steps, result, detail, instruction, negative, picture, compared, chain, history,
                infotext, download_button,
            ],
        )  # fmt: skip
    page.queue()
    return page


def about(model: str) -> str:
    """Which model the page uses and how to get another, in Markdown."""
    if model == small.NAME:
        command = f"`python -m ip2p app --model {small.OFFICIAL}`"
        return f"This page uses the **small** checkpoint that comes with the package. {small.ABOUT} {small.PUBLISHED}: {command}."
    name = small.HUB if model == small.OFFICIAL else Path(model).name if Path(model).suffix or Path(model).is_dir() else model
    return f"This page uses **{name}**; `python -m ip2p app --model …` takes another."
