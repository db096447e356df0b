"""The part *Batch* of the tab: files dropped together, or a folder where this WebUI allows it, edited one after another as the controls say."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

import gradio as gr
from PIL import Image

from modules import call_queue, sd_models, shared, ui_tempdir
from modules.ui_components import FormRow

from .. import images
from ..batch import Batch, Outcome, Stamps, settings_of, sources_in, stems_of, zip_files
from ..chain import lines_of
from ..edit import Edit
from ..errors import EditError
from ..files import remove
from ..images.write import FORMATS
from ..where import MASK
from . import settings
from .chain_run import is_over, run_chain
from .controls import edit_of, painted_mask
from .denoiser import check_edit_model
from .history_store import THUMBNAIL, WINDOW_ID
from .loan import lent
from .processing import check_ready, results_of_line
from .region_controls import SOURCE_LABELS
from .shown_result import error, results_folder

PLACEHOLDER = Image.new("RGB", (64, 64))
OWN_OF_A_PICTURE = ("image", "mask")  # controls that every picture of a batch has its own of
MAX_NAMED = 20
ZIP_NAME = "edits.zip"
NO_FOLDERS = "This WebUI was started with --hide-ui-dir-config, which keeps folders out of the page: drop the pictures in place of them."
PAINTED = (
    "What is painted under “Edit only here” belongs to the one picture: press “Clear” there to edit the whole of every picture, or choose "
    "“By name” or “Where the instruction acts”, which is found in each."
)
ABOUT = """
<p>Drop pictures, write the instruction above and press the button: each is edited with the settings of this tab, by its own size and region;
what is painted over belongs to the one picture and has to be cleared first. What is finished with the same settings is passed over, so that a
batch that was interrupted goes on where it stopped. Nothing is overwritten.</p>
"""


class FilesInput(gr.File):
    """A field for files that hands on what the page sends as it is: Gradio's own copies whatever path a request names."""

    def get_block_name(self):
        return "file"

    def preprocess(self, x):
        return x


class FileOutput(gr.File):
    """A file to download from where it lies: Gradio's own copies it first, a gigabyte for a hundred photographs."""

    def get_block_name(self):
        return "file"

    def postprocess(self, y: Path | None):
        if y is None:
            return None
        ui_tempdir.register_tmp_file(shared.demo, str(y))
        return {"orig_name": y.name, "name": str(y), "size": y.stat().st_size, "data": None, "is_file": True}


def build() -> dict:
    """Its layout."""
    b = {}
    with gr.Accordion("Batch", open=False, elem_id="ip2p_batch"):
        gr.HTML(ABOUT)
        b["files"] = FilesInput(label="Pictures to edit", file_count="multiple", elem_id="ip2p_batch_files")
        with FormRow(**shared.hide_dirs):
            b["input"] = gr.Textbox(
                label="Input folder", elem_id="ip2p_batch_input", placeholder="in place of dropped pictures", **shared.hide_dirs
            )
            b["output"] = gr.Textbox(
                label="Output folder",
                elem_id="ip2p_batch_output",
                placeholder=str(default_folder()) if shared.hide_dirs["visible"] else "",
                **shared.hide_dirs,
            )
        b["metadata"] = gr.Checkbox(True, label="Keep the photographs' date, place and camera", elem_id="ip2p_batch_metadata")
        b["run"] = gr.Button("Edit all of them", elem_id="ip2p_batch_run", variant="primary")
        with gr.Group(elem_id="ip2p_batch_container"):
            b["gallery"] = gr.Gallery(
                label="Results of the batch",
                show_label=False,
                elem_id="ip2p_batch_results",
                columns=4,
                height="auto",
                preview=False,
                visible=False,
            )
        b["zip"] = FileOutput(label="All results in one ZIP", interactive=False, elem_id="ip2p_batch_zip", visible=False)
        b["report"] = gr.HTML(elem_id="ip2p_batch_report")
    return b


def connect(b: dict, dummy, page, checkpoint: Sequence, texts: Sequence, controls: dict) -> list:
    """Wires it → what a batch fills. page: the field of the window's id; checkpoint: those of the checkpoint to lend and whether to; texts:
    instruction, negative prompt and styles."""
    names = [name for name in controls if name not in OWN_OF_A_PICTURE]

    def run(
        id_task: str,
        request: gr.Request,
        page: str,
        title: str,
        lend: bool,
        sent,
        source: str,
        target: str,
        metadata: bool,
        painted: str,
        *values,
    ):
        try:
            if values[3 + names.index("region_from")] == SOURCE_LABELS[MASK] and painted_mask(painted, PLACEHOLDER.size):
                raise EditError(PAINTED)
            task = Task.of(sent, source, target)
            edit = edit_of((*OWN_OF_A_PICTURE, *names), (*values[:3], None, None, *values[3:]), image=PLACEHOLDER)
            with lent(title if lend else None):
                outcome, shown = task.run(edit, metadata, request.username)
            packed, fault = packed_results(outcome, task.folder, page)
        except EditError as e:
            return gr.update(), None, error(str(e))
        gallery = gr.update(value=shown, visible=True) if shown else gr.update()
        return gallery, gr.update(value=packed, visible=packed is not None), report(outcome, task, fault)

    outputs = [b["gallery"], b["zip"], b["report"]]
    b["run"].click(fn=None, _js="() => [null, '']", outputs=outputs[1:])  # those of the batch before
    b["run"].click(
        fn=call_queue.wrap_gradio_gpu_call(run, extra_outputs=[gr.update(), None]),
        _js="ip2p_submit_batch",
        inputs=[
            dummy,
            page,
            *checkpoint,
            b["files"],
            b["input"],
            b["output"],
            b["metadata"],
            controls["mask"],
            *texts,
            *(controls[name] for name in names),
        ],
        outputs=outputs,
        show_progress=False,
    )
    return outputs


@dataclass(frozen=True)
class Task:
    """What a batch is of. sources: the pictures; stems: of their results; folder: to write to; passed_over: what else lies among them,
    with the reason."""

    sources: Sequence[Path]
    stems: Sequence[Path]
    folder: Path
    passed_over: Sequence[tuple[Path, str]] = ()

    @classmethod
    def of(cls, sent: Sequence[dict] | None, source: str, target: str) -> Task:
        """sent: files as the page names them; source, target: folders as they were typed, or nothing. Raises EditError."""
        source, target = (source or "").strip(), (target or "").strip()
        if (source or target) and shared.cmd_opts.hide_ui_dir_config:
            raise EditError(NO_FOLDERS)
        folder = Path(target).expanduser() if target else default_folder()
        if not source:
            files = [path_sent(file) for file in sent or ()]
            if not files:
                raise EditError("There are no pictures to edit: drop some first.")
            return cls(files, stems_of([Path(file.name) for file in files]), folder)
        if sent:
            raise EditError("There are dropped pictures and an input folder: clear one of them.")
        place = Path(source).expanduser()
        if not place.is_dir():
            raise EditError(f"There is no folder {source}.")
        files, others = sources_in(place, folder)
        if not files:
            raise EditError(f"There are no pictures in {source}.")
        return cls(files, stems_of([file.relative_to(place) for file in files]), folder, others)

    def run(self, edit: Edit, metadata: bool, user: str | None) -> tuple[Outcome, list[tuple[Image.Image, str]]]:
        """Edits them → what became of them, and what the page shows. Raises EditError for what would fail for each."""
        check_ready(edit)
        sd_models.reload_model_weights()  # the chosen one, which is not always the one that was used last
        check_edit_model(shared.sd_model)
        shown: list[tuple[Image.Image, str]] = []
        limit = int(shared.opts.img2img_batch_show_results_limit)
        jobs = (len(edit.variations) or edit.count) * len(lines_of(edit))
        shared.state.job_count = len(self.sources) * jobs
        begun = 0

        def begin(place: int) -> None:
            nonlocal begun
            begun = place
            shared.state.skipped = False
            shared.state.job_no, shared.state.sampling_step = place * jobs, 0
            shared.state.textinfo = f"Picture {place + 1} of {len(self.sources)}"

        def edited(picture: Image.Image) -> list[tuple[Image.Image, str]]:
            run = run_chain(replace(edit, image=picture), user=user)
            if run.interrupted:
                return []
            for result in run.lines[-1]:
                if not shared.opts.do_not_show_images and (limit < 0 or len(shown) < limit):
                    shown.append((small(result.image), self.sources[begun].name))
            return [(result.image, result.infotext) for result in run.lines[-1]]

        stamps = Stamps(settings_of(edit), shared.sd_model.sd_checkpoint_info.filename)
        outcome = Batch(
            self.sources, self.stems, self.folder, stamps, results_of_line(edit), suffix(), int(shared.opts.jpeg_quality), metadata,
            shared.opts.img2img_background_color, images.HTTP,
        ).run(edited, is_over, begin)  # fmt: skip
        return outcome, shown


def path_sent(file: dict) -> Path:
    """A file that was uploaded to this WebUI. Raises EditError for any other path."""
    name = file.get("name") if isinstance(file, dict) else None
    path = Path(os.path.normpath(name)) if isinstance(name, str) else None
    if path is not None and path == Path(path.name):  # what the page has of it until it is sent
        raise EditError("A dropped picture is still on its way: press again in a moment.")
    if path is None or not ui_tempdir.is_gradio_temp_path(path) or not path.is_file():
        raise EditError("A dropped picture is not here any longer: drop them again.")
    return path


def default_folder() -> Path:
    """For results where no folder was typed: beside the tab's others, or in the temporary folder where results are not saved."""
    return Path(settings.outdir()) / "batch" if shared.opts.samples_save else temporary_folder() / "batch"


def temporary_folder() -> Path:
    return results_folder() / "instruct-edit"


def suffix() -> str:
    """Of the results' files: the host's own for results, where it is one that is written here."""
    chosen = f".{shared.opts.samples_format.lower()}"
    return chosen if chosen in FORMATS else ".png"


def small(image: Image.Image) -> Image.Image:
    shown = image.copy()
    shown.thumbnail(THUMBNAIL)
    return shown


def packed_results(outcome: Outcome, folder: Path, page: str) -> tuple[Path | None, str]:
    """All finished results in one ZIP, in place of the window's last one; and why there is none."""
    window = page if isinstance(page, str) and WINDOW_ID.fullmatch(page) else token_hex(16)
    place = temporary_folder() / window / ZIP_NAME
    remove(place)
    if not outcome.results:
        return None, ""
    try:
        zip_files(outcome.results, folder, place)
    except EditError as e:
        return None, str(e)
    return place, ""


def report(outcome: Outcome, task: Task, fault: str) -> str:
    """What became of the pictures, in HTML."""
    failed = [f"{name}: {reason}" for name, reason in outcome.failed]
    others = [f"{path.name}: passed over, it is {reason}" for path, reason in task.passed_over]
    lines = [*failed, *others, *filter(None, [fault])]
    more = [f"… and {len(lines) - MAX_NAMED} more"] if len(lines) > MAX_NAMED else []
    where = "" if shared.cmd_opts.hide_ui_dir_config else f" The results are in {html.escape(str(task.folder))}."
    named = "".join(f"<li>{html.escape(line)}</li>" for line in [*lines[:MAX_NAMED], *more])
    return f"<p>{outcome.sentence}{where}</p>" + (f"<ul>{named}</ul>" if named else "")
