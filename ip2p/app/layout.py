"""What the page looks like."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from ..checkpoints.packaged import BY_NAME, HUB, OFFICIAL, PUBLISHED
from ..checkpoints.student import ABLE
from ..edit import FULL, MAX_SEED, MAX_STEPS, SPEEDS, Edit, move_scales
from ..editor import SAMPLERS
from ..images import MAX_SIDE, MIN_SIDE
from ..infotext import is_fast
from ..segmentation import missing
from ..where import NAMES as REGION_NAMES
from ..wording import (
    AS_PICTURE,
    CUSTOM,
    EXAMPLES,
    FAST_INFO,
    FINISH_EXACTLY,
    HOLD,
    LOAD_EXAMPLE,
    ONE_CHANGE_A_LINE,
    RESULT_LABELS,
    SIZES,
    VARY,
)
from .clearing import clear_hourly, use_own_folder
from .events import Events, take_mask
from .many import Many
from .ready import Ready
from .said import for_programs, in_page
from .settings_fields import DRAWN, FIXED, NAMES, PAINTED
from .steps import choose, shown_variants, step_back, use_result
from .uploads import GuardedBlocks

SEED = 1371  # the official page's
DETAIL = 1.0
CSS = Path(__file__).with_name("browser.css").read_text(encoding="utf8")
BROWSER = Path(__file__).with_name("browser.js")
NOTHING_PAINTED = "() => ''"
PRESS = "() => document.querySelector('#ip2p_generate, #ip2p_edit_all').click()"  # whichever of them is shown


def build(model: str, own: Path | None = None) -> gr.Blocks:
    """The page for one model, which is loaded with the first edit. Its files are kept for a day.

    model: as for `Editor.load`: a diffusers folder, a hub id, a single file, `small`. own: the folder for ready instructions of one's own:
    of each user who logs in, or, where nobody does, of everyone who reaches the page; without one none can be saved.
    """
    folder = use_own_folder()
    page = Page(model, own)
    clear_hourly(folder, page.examples_kept)
    return page.blocks


class Page:
    """The page's components and what connects them."""

    def __init__(self, model: str, own: Path | None = None):
        self.events, self.own = Events(model), own
        self.fields: dict[str, gr.Component] = {}
        with GuardedBlocks(title="Instruct edit", analytics_enabled=False, elem_id="ip2p_app") as self.blocks:
            gr.Markdown(f"# Instruct edit\nEdit a picture by saying what to change.\n\n{about(model)}")
            self.chain, self.exact, self.variants = gr.State([]), gr.State(None), gr.State([])
            with gr.Row():
                with gr.Column():
                    self.lay_out_request()
                with gr.Column():
                    self.lay_out_result()
            self.lay_out_settings()
            self.examples = gr.Examples(
                [[str(file), text] for file, text in EXAMPLES], inputs=[self.picture, self.fields["instruction"]],
                label="Examples (public domain and CC0)",
            )  # fmt: skip
            self.connect_edit()
            self.connect_mask()
            self.connect_chain()
            self.connect_many()
            self.blocks.load(fn=None, js=BROWSER.read_text(encoding="utf8"))
        self.blocks.queue()

    def lay_out_request(self) -> None:
        """The picture or the pictures, what to change, and the button."""
        fields = self.fields
        with gr.Tabs():
            with gr.Tab("One picture", elem_id="ip2p_one") as self.one:
                self.picture = gr.Image(label="Picture", type="filepath", elem_id="ip2p_image", height=380, sources=["upload", "clipboard"])
                with gr.Accordion("Edit only here", open=False, elem_id="ip2p_mask_group") as self.mask_group:
                    gr.Markdown("Paint over the picture where it may change: every pixel beside it stays as it is.")
                    self.brush = gr.Slider(1, 50, 12, step=1, label="Brush", elem_id="ip2p_brush")
                    with gr.Row():
                        self.erase = gr.Checkbox(False, label="Erase", elem_id="ip2p_erase", min_width=80)
                        self.unpaint = gr.Button("Undo stroke", size="sm", elem_id="ip2p_unpaint", min_width=80)
                        self.clear = gr.Button("Clear", size="sm", elem_id="ip2p_clear_mask", min_width=80)
                        self.mask_file = gr.UploadButton("Upload a mask", size="sm", elem_id="ip2p_mask_file", file_types=["image"])
                self.painted = gr.Textbox("", visible="hidden", elem_id="ip2p_mask", label="Painted")
            with gr.Tab("Many pictures", elem_id="ip2p_many") as self.many:
                self.files = gr.File(file_count="multiple", label="Pictures", elem_id="ip2p_files", height=240)
        fields["instruction"] = gr.Textbox(
            label="Instruction",
            placeholder="make it winter",
            info=f"{ONE_CHANGE_A_LINE}. Shift+Enter begins another",
            elem_id="ip2p_prompt",
        )
        student = self.events.defaults.passes == 1
        fields["negative_prompt"] = gr.Textbox(
            label="Negative prompt", placeholder="what to keep out", elem_id="ip2p_neg_prompt", interactive=not student,
            info=f"This model edits in one pass, and a negative prompt needs three: {ABLE}" if student else None,
        )  # fmt: skip
        with gr.Row():
            self.generate = gr.Button("Generate", variant="primary", elem_id="ip2p_generate", min_width=100)
            self.edit_all = gr.Button("Edit all", variant="primary", elem_id="ip2p_edit_all", min_width=100, visible=False)
            self.stop = gr.Button("Stop", elem_id="ip2p_interrupt", min_width=100)
        self.message = gr.HTML(elem_id="ip2p_message")
        with gr.Column(visible=False) as self.of_many:
            self.outcome = gr.HTML(elem_id="ip2p_outcome")
            self.packed = gr.DownloadButton("Download all results (ZIP)", elem_id="ip2p_packed")
            self.folder = gr.State(None)
        with gr.Row():
            self.example = gr.Button(LOAD_EXAMPLE, elem_id="ip2p_example", min_width=100)
            self.reset = gr.Button("Reset", elem_id="ip2p_reset", min_width=100)

    def lay_out_result(self) -> None:
        """The result over the original, what kind of result it is, and the chain."""
        fields = self.fields
        self.compared = gr.ImageSlider(
            label="Original and result",
            type="filepath",
            elem_id="ip2p_compare",
            height=380,
            interactive=False,
            slider_position=10,
            buttons=["fullscreen"],
        )
        self.side_by_side = gr.Gallery(
            label=VARY, elem_id="ip2p_side_by_side", columns=4, height=340, fit_columns=False, preview=False, allow_preview=False,
            visible=False,
        )  # fmt: skip
        with gr.Row():
            self.hold = gr.Button(HOLD, elem_id="ip2p_hold", size="sm", min_width=90)
            self.use = gr.Button("Use result as picture", elem_id="ip2p_use_result", size="sm", min_width=90)
            self.finish = gr.Button(FINISH_EXACTLY, elem_id="ip2p_finish_exactly", size="sm", min_width=90, visible=False)
            self.back = gr.Button("Step back", elem_id="ip2p_history_back", size="sm", min_width=90)
        self.download = gr.DownloadButton("Download the result", elem_id="ip2p_download")
        kinds = [(label, result) for result, label in RESULT_LABELS.items()]
        fields["result"] = gr.Radio(kinds, value=FULL, label="Result", elem_id="ip2p_result")
        fields["detail"] = gr.Slider(
            0, 1, DETAIL, step=0.05, label="Keep the photograph's detail", elem_id="ip2p_detail",
            info="In a full result: 0 only enlarges the edit, 1 keeps all detail. Moving it needs no new edit",
        )  # fmt: skip
        self.history = gr.Gallery(
            label="Chain of edits", elem_id="ip2p_history", columns=4, height=180, fit_columns=False, buttons=["fullscreen"]
        )
        self.infotext = gr.Textbox(label="Parameters", elem_id="ip2p_infotext", interactive=False, buttons=["copy"])

    def lay_out_settings(self) -> None:
        """What both parts edit with."""
        fields, defaults = self.fields, self.events.defaults
        ready = gr.Group(elem_id="ip2p_ready")
        with gr.Row():
            fields["text_scale"] = gr.Number(
                defaults.text_scale, label="Text scale", elem_id="ip2p_text_scale", info="How strongly the instruction acts"
            )
            fields["image_scale"] = gr.Number(
                defaults.image_scale, label="Image scale", elem_id="ip2p_image_scale", info="How closely the result keeps to the picture"
            )
            fields["scale_mode"] = gr.Radio([FIXED, DRAWN], value=FIXED, label="Scales are", elem_id="ip2p_scale_mode")
            with gr.Column(min_width=160):
                self.less = gr.Button("Edit less", elem_id="ip2p_edit_less", size="sm")
                self.more = gr.Button("Edit more", elem_id="ip2p_edit_more", size="sm")
        with gr.Row():
            fields["steps"] = gr.Slider(1, MAX_STEPS, defaults.steps, step=1, label="Steps", elem_id="ip2p_steps")
            fields["speed"] = gr.Radio(
                [*SPEEDS], value=Edit.speed, label="Speed", elem_id="ip2p_speed", info=FAST_INFO, interactive=defaults.passes > 1
            )
            fields["sampler_name"] = gr.Dropdown(list(SAMPLERS), value=defaults.sampler_name, label="Sampler", elem_id="ip2p_sampler")
            fields["seed_mode"] = gr.Radio([FIXED, DRAWN], value=FIXED, label="Seed is", elem_id="ip2p_seed_mode")
            fields["seed"] = gr.Number(SEED, label="Seed", step=1, minimum=0, maximum=MAX_SEED, elem_id="ip2p_seed")
        with gr.Row():
            fields["size_mode"] = gr.Radio(list(SIZES), value=AS_PICTURE, label="Size", elem_id="ip2p_size_mode")
            fields["longest_side"] = gr.Slider(
                MIN_SIDE, MAX_SIDE // 2, defaults.longest_side, step=64, label="Longest side", elem_id="ip2p_longest_side",
                info="Of the size the edit is made at",
            )  # fmt: skip
            for side in ("width", "height"):
                fields[side] = gr.Slider(
                    MIN_SIDE, MAX_SIDE // 2, defaults.longest_side, step=8, label=side.capitalize(), elem_id=f"ip2p_{side}", visible=False
                )
        with gr.Row(elem_id="ip2p_where_row"):
            fields["region"] = gr.Dropdown(
                [PAINTED, *REGION_NAMES], value=PAINTED, label="Where the edit acts", elem_id="ip2p_region", info=not_here()
            )
            fields["only"] = gr.Checkbox(
                False, label="Only that part, at the model's own size", elem_id="ip2p_region_only",
                info="It is cut out with its surroundings, edited and put back",
            )  # fmt: skip
        with ready:
            Ready(fields, defaults, self.own)

    def connect_edit(self) -> None:
        """Generate, Stop, another kind of result, and the fields that set others."""
        fields, chain = self.fields, self.chain
        inputs = [self.picture, *(fields[name] for name in NAMES), self.painted, self.exact, chain]
        shown = [chain, self.history, self.variants, self.side_by_side, self.infotext, self.download, self.message]
        outputs = [self.compared, fields["seed"], fields["text_scale"], fields["image_scale"], *shown]
        self.hush(self.generate.click)
        fields["instruction"].submit(fn=None, js=PRESS)
        self.offer([self.generate.click], self.events.generate, inputs, outputs, "edit", progress_on=self.compared)
        moved = [fields["detail"].release, fields["result"].input]
        self.offer(
            moved, self.events.again, [fields["result"], fields["detail"], chain, self.variants], [self.compared, *shown], "again",
            progress_on=self.compared, trigger_mode="always_last",
        )  # fmt: skip
        self.offer(
            [self.finish.click], self.events.finish_exactly, [fields["result"], fields["detail"], chain, self.variants],
            [self.compared, *shown], "finish_exactly", progress_on=self.compared,
        )  # fmt: skip
        self.infotext.change(
            lambda infotext: gr.update(visible=is_fast(infotext)),
            [self.infotext],
            [self.finish],
            api_visibility="private",
            show_progress="hidden",
        )
        self.stop.click(self.events.stop_edit, queue=False)
        scales = [fields["text_scale"], fields["image_scale"]]
        for button, direction in ((self.less, -1), (self.more, +1)):
            button.click(partial(scales_moved, direction), scales, scales, api_visibility="private", show_progress="hidden")
        sides = [fields[side] for side in ("longest_side", "width", "height")]
        fields["size_mode"].change(shown_sides, [fields["size_mode"]], sides, api_visibility="private", show_progress="hidden")

    def connect_mask(self) -> None:
        """Painting is in browser.js. Another picture has nothing painted on it yet."""
        self.mask_group.expand(fn=None, js="() => window.ip2p.paint(true)")
        self.mask_group.collapse(fn=None, js="() => window.ip2p.paint(false)")
        self.unpaint.click(fn=None, js="() => window.ip2p.undo()")
        self.painted.change(fn=None, inputs=[self.painted], js="text => window.ip2p.show(text)")
        gr.on([self.picture.input, self.picture.clear, self.clear.click], fn=None, js=NOTHING_PAINTED, outputs=[self.painted])
        self.examples.load_input_event.then(fn=None, js=NOTHING_PAINTED, outputs=[self.painted])
        self.hush(self.mask_file.upload, self.picture.input)
        outputs = [self.painted, self.exact, self.message]
        self.offer([self.mask_file.upload], take_mask, [self.mask_file, self.picture], outputs, "mask", preprocess=True)

    def connect_chain(self) -> None:
        """On from the result, back to the step before, and the start."""
        fields, chain = self.fields, self.chain
        self.offer([self.use.click], use_result, [chain, self.exact], [self.picture, self.exact, self.message], "use_result")
        chosen = [self.compared, chain, self.history, self.infotext, self.download, self.message]
        self.offer([self.side_by_side.select], choose, [chain, self.variants], chosen, "choose")
        stepped = [
            self.picture, self.painted, self.exact, fields["instruction"], chain, self.history, self.compared, self.infotext, self.download,
            self.variants, self.side_by_side, self.message,
        ]  # fmt: skip
        self.offer([self.back.click], step_back, [chain], stepped, "step_back")
        self.example.click(example, None, [self.picture, fields["instruction"], self.painted])
        others = [
            self.picture, self.painted, self.exact, self.compared, chain, self.history, self.infotext, self.download, self.variants,
            self.side_by_side, self.message,
        ]  # fmt: skip
        self.reset.click(self.fresh, None, [*(fields[name] for name in NAMES), *others], api_name="reset")

    def connect_many(self) -> None:
        for tab, many in ((self.one, False), (self.many, True)):
            parts = [self.generate, self.edit_all, self.of_many]
            tab.select(partial(shown_parts, many), None, parts, api_visibility="private", show_progress="hidden")
        inputs = [self.files, *(self.fields[name] for name in NAMES), self.folder]
        outputs = [self.outcome, self.packed, self.folder, self.message]
        self.hush(self.edit_all.click)
        self.offer([self.edit_all.click], Many(self.events).edit_all, inputs, outputs, "edit_all", progress_on=self.outcome)

    def hush(self, *pressed: object) -> None:
        """What was said goes when something else is asked for."""
        gr.on(list(pressed), fn=None, js="() => ''", outputs=[self.message])

    def offer(
        self,
        pressed: list,
        event: Callable[..., Iterator[tuple]],
        inputs: list,
        outputs: list,
        name: str,
        progress_on: gr.Component | None = None,
        preprocess: bool = False,
        **options: Any,
    ) -> None:
        """An event for people, whose refusals are said at one place, and for programs, to whom they are errors."""
        options |= {"preprocess": preprocess, "show_progress": "full" if progress_on else "hidden"}
        if progress_on:
            options |= {"show_progress_on": progress_on, "concurrency_id": "model"}  # which does one thing at a time
        shown = in_page(event, len(outputs))
        gr.on(pressed, shown, inputs, outputs, api_name=f"{name}_in_page", api_visibility="private", **options)
        gr.on([], for_programs(event), inputs, outputs, api_name=name, **options)

    def fresh(self) -> tuple:
        """Of every field what it had at first, and no picture and no result."""
        values = [self.fields[name].value for name in NAMES]
        return (*values, None, "", None, None, [], [], "", None, [], shown_variants(()), "")

    def examples_kept(self) -> set[str]:
        """The files of the examples, which are there as long as the page is."""
        return {path for component in self.blocks.blocks.values() for path in getattr(component, "keep_in_cache", ())}


def scales_moved(direction: int, text: float | None, image: float | None) -> tuple[float, float]:
    """Both scales a step on; an empty field counts as 0."""
    return move_scales(text or 0, image or 0, direction)


def shown_parts(many: bool) -> list:
    """Generate for one picture; its own button and results for many."""
    return [gr.update(visible=not many), gr.update(visible=many), gr.update(visible=many)]


def shown_sides(mode: str) -> list:
    """Which fields of a size are shown."""
    return [gr.update(visible=mode == AS_PICTURE), gr.update(visible=mode == CUSTOM), gr.update(visible=mode == CUSTOM)]


def example() -> tuple[str, str, str]:
    """A picture and what to make of it, with nothing painted. Gradio takes files from the working directory and from its cache, nowhere
    else."""
    file, instruction = random.choice(EXAMPLES)
    return save_file_to_cache(file, get_upload_folder()), instruction, ""


def about(model: str) -> str:
    """Which model the page uses and how to get another, in Markdown."""
    if own := BY_NAME.get(model):
        command = f"`python -m ip2p app --model {OFFICIAL}`"
        return f"This page uses the checkpoint **{own.name}** that comes with the package. {own.about} {PUBLISHED}: {command}."
    name = HUB if model == OFFICIAL else Path(model).name if Path(model).suffix or Path(model).is_dir() else model
    return f"This page uses **{name}**; `python -m ip2p app --model …` takes another."


def not_here() -> str | None:
    """Which regions can't be found by their names here."""
    names = [name for name in REGION_NAMES if missing(name)]
    return f"Not found here: {', '.join(names)}" if names else None
