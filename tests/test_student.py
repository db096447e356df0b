"""A student of the three passes: one row a step at any scales, in a plain file, and a sentence for what it can't do."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from convert_cases import same_bits
from editor_cases import deviation, difference, final_latents
from ip2p.__main__ import main
from ip2p.checkpoints.bake import bake
from ip2p.checkpoints.convert import convert
from ip2p.checkpoints.defaults import ModelDefaults, defaults_for, metadata_of
from ip2p.checkpoints.merge import merge
from ip2p.checkpoints.student import FIRST, student_in
from ip2p.edit import Edit, Variant
from ip2p.editor import Editor
from ip2p.errors import EditError
from ip2p.guidance import combine, pass_weights
from ip2p.presets import Preset
from ip2p.scale_input import FEATURES, KEY, ScaleInput, in_one_pass
from ip2p.scale_input import difference as feature_difference
from ip2p.where import INSTRUCTION, MASK, Where
from students import SAID, student_file, without_mark
from tiny_model import tiny_networks

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]
BAKED = (2.5, 1.5)
PICTURE = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
EDIT = Edit(
    PICTURE, "make it winter", text_scale=BAKED[0], image_scale=BAKED[1], seed=7, steps=2, width=64, height=64, sampler_name="Euler"
)
OTHERS = (Variant(1, 1, 7), Variant(4, 1.5, 7), Variant(2.5, 2.2, 8), Variant(*BAKED, 7))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return student_file(tmp_path_factory.mktemp("student") / "student.safetensors")


@pytest.fixture(scope="module")
def student(file):
    return Editor.load(file, device="cpu")


@pytest.fixture(scope="module")
def plain(file, tmp_path_factory):
    """The same networks, as who knows no student sees them."""
    return Editor.load(without_mark(file, tmp_path_factory.mktemp("plain") / "plain.safetensors"), device="cpu")


def unguided(editor: Editor, edit: Edit = EDIT) -> torch.Tensor:
    """The last latents of `full` alone, without any scales."""
    return final_latents(editor, replace(edit, text_scale=1, image_scale=1))


def test_at_the_scales_in_it_it_is_a_plain_checkpoint_at_1_and_1(student, plain):
    assert torch.equal(final_latents(student, EDIT), unguided(plain))
    assert student.rows == plain.rows == [1, 1]


def test_any_scales_cost_one_row_and_each_moves_the_picture(student):
    results = student.edit(replace(EDIT, variants=OTHERS))
    assert student.rows == [len(OTHERS)] * EDIT.steps
    usual = results[-1]
    assert all(difference(usual, other) > 3 for other in results[:-1])
    for cell, result in zip(OTHERS, results):
        (alone,) = student.edit(replace(EDIT, text_scale=cell.text_scale, image_scale=cell.image_scale, seed=cell.seed))
        assert difference(alone, result) <= 1
        assert (result.text_scale, result.image_scale) == (cell.text_scale, cell.image_scale)


def test_rows_of_other_lengths_and_short_of_memory_keep_their_own_scales(student, monkeypatch):
    edits = [replace(EDIT, text_scale=4.0), replace(EDIT, instruction="snow " * 100), replace(EDIT, image_scale=2.2)]
    alone = [student.edit(edit)[0] for edit in edits]
    together, forward = student.edit(edits), student.unet.forward

    def short_of_memory(x, *args, **kwargs):
        if len(x) > 1:
            raise torch.OutOfMemoryError("the test has no more")
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(student.unet, "forward", short_of_memory)
    for results in (together, student.edit(edits)):
        assert all(difference(one, other) <= 1 for one, other in zip(alone, results))
    assert student.rows == [3, 3]


def test_outside_an_interval_of_the_text_guidance_it_is_told_scale_1(student):
    never = replace(EDIT, text_start=0.45, text_end=0.46, steps=3)  # between two steps
    assert torch.equal(final_latents(student, never), final_latents(student, replace(never, text_scale=1, text_start=0, text_end=1)))


@pytest.mark.parametrize(
    "change, sentence",
    (
        (dict(negative_prompt="blurry"), "A negative prompt needs three passes, and “student” edits in one"),
        (dict(heat_map=True), "To show where the instruction acts needs three passes"),
        (dict(region=Where(INSTRUCTION)), "A region from the instruction needs"),
        (dict(region=Where(MASK, scoped=True), mask=PICTURE.convert("L")), "Guidance only within a region needs"),
        (dict(image_end=0.5), "An interval of the image guidance needs"),
        (dict(speed="fast"), "The speed “fast”, which leaves out some of them, needs"),
    ),
)
def test_what_needs_three_passes_is_a_sentence_that_names_who_can(student, change, sentence):
    with pytest.raises(EditError, match=f"{sentence}.*small, which comes with the package, and the published checkpoint can"):
        student.edit(replace(EDIT, **change))


def test_it_is_told_in_a_host_s_network_as_in_one_that_has_the_input():
    torch.manual_seed(0)
    unet = tiny_networks()["unet"]
    told = type(unet)(**{**unet.config, "time_cond_proj_dim": FEATURES})
    matrix = torch.randn(unet.config.block_out_channels[0], FEATURES)
    told.load_state_dict({**unet.state_dict(), "time_embedding.cond_proj.weight": matrix})
    x, t, text = torch.randn(3, 8, 8, 8), torch.tensor([500, 20, 999]), torch.randn(3, 5, 32)
    scales = torch.tensor([[1.0, 1.0], [4.0, 2.0], [2.5, 1.5]])
    scale_input, first = ScaleInput(matrix, BAKED), unet.time_embedding.linear_1
    with torch.no_grad():
        expected = told(x, t, text, timestep_cond=feature_difference(scales, BAKED)).sample
        with scale_input.told(first, scales):
            by_hook = unet(x, t, text).sample
        untold = unet(x, t, text).sample
    assert deviation(by_hook, expected) < 1e-5 < deviation(untold, expected)
    assert torch.equal(untold[2], told(x, t, text).sample[2]), "the usual scales need no telling"
    with pytest.raises(KeyError), scale_input.told(first, scales):
        raise KeyError
    assert not first._forward_hooks


def test_sub_prompts_by_their_weights_are_equation_3_of_all_of_them():
    f, other, i, u = torch.randn(4, 4, 8, 8, dtype=torch.float64)
    for prompt_weights in ((1.0,), (1.0, 1.0), (0.5, 0.8), (1.5, -0.5), (0.5,)):
        weights, (text, image) = in_one_pass(3.0, 1.4, prompt_weights)
        guided = [combine((full, i, u), pass_weights(text, image)) for full in (f, other)][: len(prompt_weights)]
        expected = combine([*(f, other)[: len(prompt_weights)], i, u], pass_weights(3.0, 1.4, prompt_weights))
        assert torch.allclose(combine([*guided, i, u], weights), expected)
    with pytest.raises(EditError, match="add up to nothing"):
        in_one_pass(3.0, 1.4, (1.0, -1.0))


def test_a_file_and_a_folder_of_it_are_one_model(file, student, tmp_path):
    convert(file, tmp_path / "folder")
    convert(tmp_path / "folder", tmp_path / "back.safetensors")
    assert same_bits(load_file(file), load_file(tmp_path / "back.safetensors"))
    assert metadata_of(file) == metadata_of(tmp_path / "folder") == metadata_of(tmp_path / "back.safetensors")
    assert json.loads((tmp_path / "folder" / "unet" / "config.json").read_text())["time_cond_proj_dim"] == FEATURES
    edit = replace(EDIT, text_scale=4.0)
    for model in ("folder", "back.safetensors"):
        assert torch.equal(final_latents(Editor.load(tmp_path / model, device="cpu"), edit), final_latents(student, edit))
    convert(file, tmp_path / "smaller.safetensors")
    assert torch.equal(student_in(tmp_path / "smaller.safetensors").projection, student_in(file).projection)


def test_other_scales_are_baked_in_and_the_rest_is_kept(file, student, tmp_path):
    out = tmp_path / "baked.safetensors"
    assert main(["model", "bake", str(file), "--text-scale", "4", "--output", str(out)]) == 0
    before, after = load_file(file), load_file(out)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{FIRST}.bias"} and before.keys() == after.keys()
    with safe_open(file, "pt") as one, safe_open(out, "pt") as other:
        assert other.metadata() == one.metadata() | {"instruct_edit.text_scale": "4", "instruct_edit.image_scale": "1.5"}
    anywhere = Editor.load(without_mark(out, tmp_path / "plain.safetensors"), device="cpu")
    told = final_latents(student, replace(EDIT, text_scale=4.0))
    rounding = 2e-3 if before[f"{FIRST}.bias"].dtype == torch.float16 else 1e-5
    assert deviation(unguided(anywhere), told) < rounding < deviation(final_latents(student, EDIT), told)
    assert deviation(final_latents(Editor.load(out, device="cpu"), EDIT), final_latents(student, EDIT)) < rounding  # and back again


def test_what_can_t_be_baked_is_a_sentence(file, tmp_path):
    for source, output, scales, sentence in (
        (without_mark(file, tmp_path / "plain.safetensors"), "x.safetensors", {}, "is no student"),
        (tmp_path, "x.safetensors", {}, "convert it to a file first"),
        (file, "x.ckpt", {}, "is a .safetensors file"),
        (file, "x.safetensors", {"text_scale": -1.0}, "text scale must be between"),
        (file, file, {}, "exists already"),
    ):
        with pytest.raises(EditError, match=sentence):
            bake(source, tmp_path / output, **{"text_scale": None, "image_scale": None, **scales})


def test_a_student_without_its_matrix_is_a_sentence(file, tmp_path):
    state, metadata = load_file(file), {f"instruct_edit.{name}": value for name, value in SAID.items()}
    yaml = file.with_suffix(".yaml").read_text(encoding="utf8")
    for name, matrix in (("none", None), ("odd", torch.zeros(3, FEATURES))):
        broken = tmp_path / f"{name}.safetensors"
        save_file({**state, KEY: matrix} if matrix is not None else {k: v for k, v in state.items() if k != KEY}, broken, metadata)
        broken.with_suffix(".yaml").write_text(yaml, encoding="utf8")
        for load in (student_in, Editor.load):
            with pytest.raises(EditError, match=rf"lacks {KEY}|{KEY} is 3x256|cond_proj.weight is 3x256"):
                load(broken)


def test_a_merge_is_told_the_scales_as_the_edit_model_was(file, tmp_path):
    merge(file, file, file, tmp_path / "merged.safetensors")
    assert torch.equal(student_in(tmp_path / "merged.safetensors").projection, student_in(file).projection)


def test_it_names_its_sampler_and_info_says_what_it_is(file, capsys):
    assert defaults_for(str(file)) == ModelDefaults(64, *BAKED, steps=4, sampler_name="Euler", passes=1)
    assert main(["model", "info", str(file)]) == 0
    said = capsys.readouterr().out
    assert "one pass a step, 4 steps with Euler, Automatic" in said and "text 2.5, image 1.5" in said


def test_a_ready_instruction_leaves_its_steps_and_another_sampler_is_not_given_its_schedule():
    fast = ModelDefaults(steps=4, sampler_name="LCM", scheduler="SGM Uniform", passes=1)
    assert fast.ready(Preset("Rain", "add rain", steps=25))["steps"] == 4
    assert fast.ready(Preset("Rain", "add rain", steps=25, own=True))["steps"] == 25
    nothing = dict.fromkeys(fast.settings)
    assert fast.taken(nothing) == fast.settings and "passes" not in fast.settings
    assert fast.taken(nothing | {"sampler_name": "Euler"})["scheduler"] == "Automatic"
    assert fast.taken(nothing | {"sampler_name": "LCM"})["scheduler"] == "SGM Uniform"
