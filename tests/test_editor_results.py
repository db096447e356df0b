"""What the editor gives back: seeds, noise, drawn scales, sizes and order, the infotext, and results of an edit that is stopped."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from editor_cases import deviation, difference
from ip2p.detail import transfer
from ip2p.edit import random_scales
from ip2p.editor import SAMPLERS, Interrupted, Run
from ip2p.errors import EditError
from tiny_model import tiny_editor

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_seed_gives_one_picture_in_any_batch(editor, edit, picture, sampler):
    edit = replace(edit, sampler_name=sampler)
    other = replace(edit, image=picture.rotate(90), instruction="add a hat", negative_prompt="", seed=7)
    together = editor.edit([replace(edit, count=3), other])
    assert [result.seed for result in together] == [7, 8, 9, 7]
    for result in together[:3]:
        (alone,) = editor.edit(replace(edit, seed=result.seed))
        assert difference(alone, result) <= 1
    assert difference(editor.edit(other)[0], together[3]) <= 1
    assert difference(together[0], together[1]) > 1
    for result, again in zip(together, editor.edit([replace(edit, count=3), other], batch_size=2)):
        assert difference(result, again) <= 1


def test_edits_of_other_sizes_and_step_counts_come_back_in_order(editor, edit):
    results = editor.edit([edit, replace(edit, width=72), replace(edit, steps=2), replace(edit, seed=8)])
    assert [result.image.size for result in results] == [(64, 64), (72, 64), (64, 64), (64, 64)]
    assert [result.seed for result in results] == [7, 7, 7, 8]
    assert difference(results[3], editor.edit(replace(edit, seed=8))[0]) <= 1


def test_a_picture_is_encoded_once_whatever_the_count(editor, edit, monkeypatch):
    rows, encode = [], editor.vae.encode
    monkeypatch.setattr(editor.vae, "encode", lambda pixels: rows.append(len(pixels)) or encode(pixels))
    editor.edit([replace(edit, count=3), replace(edit, instruction="add a hat", denoising_strength=0.5)], batch_size=2)
    assert rows == [1]


def test_a_full_result_is_of_the_picture_s_own_size_and_its_picture_is_decoded_once(editor, edit, picture, monkeypatch):
    whole = picture.resize((150, 90))
    edit = replace(edit, image=whole, width=None, height=None, longest_side=128, count=3)
    decoded, decode = [], editor.decode
    monkeypatch.setattr(editor, "decode", lambda latent: decoded.append(1) or decode(latent))
    for settings, expected in (({"result": "full"}, 4), ({"result": "full", "detail": 0}, 3), ({"result": "own-size"}, 3), ({}, 3)):
        decoded.clear()
        results = editor.edit(replace(edit, **settings))
        assert len(decoded) == expected, settings
        assert {result.image.size for result in results} == {(150, 90) if settings else (128, 64)}
        assert all(result.levels.shape == (edit.frame.size[1] if not settings else 128, 128, 3) for result in results)


def test_a_full_result_comes_from_the_working_one_and_the_picture_through_the_autoencoder(editor, edit, picture):
    whole = picture.resize((150, 90))
    edit = replace(edit, image=whole, width=None, height=None, longest_side=128, result="full", detail=0.5)
    (result,) = editor.edit(edit)
    decoded = edit.frame.cut_levels(editor.reconstruct(edit.frame.place(whole)))
    expected = transfer(whole, edit.frame.cut_levels(result.levels), decoded, 0.5)
    assert np.abs(np.asarray(result.image, int) - np.asarray(expected, int)).max() <= 1


def test_the_rows_of_a_full_result_are_counted_and_it_may_be_stopped_among_them(editor, edit, picture):
    edit = replace(edit, image=picture.resize((150, 300)), width=None, height=None, longest_side=128, result="full", count=2)
    seen = []
    editor.edit(edit, on_rows=lambda done, total: seen.append((done, total)))
    assert len(seen) >= 4 and seen[-1] == (300, 300) and seen == sorted(seen[: len(seen) // 2]) * 2
    calls = iter(range(len(seen)))
    with pytest.raises(Interrupted) as stopped:
        editor.edit(edit, on_rows=lambda done, total: next(calls) < len(seen) // 2)
    assert [result.seed for result in stopped.value.results] == [7]


def test_a_drawn_seed_is_reported_and_gives_the_picture_again(editor, edit):
    (drawn,) = editor.edit(replace(edit, seed=-1))
    assert f"Seed: {drawn.seed}," in drawn.infotext
    assert difference(drawn, editor.edit(replace(edit, seed=drawn.seed))[0]) == 0
    assert editor.edit(replace(edit, seed=-1))[0].seed != drawn.seed


def test_drawn_scales_belong_to_the_seed_and_are_in_the_infotext(editor, edit):
    for result in editor.edit(replace(edit, randomise_scales=True, count=2)):
        assert (result.text_scale, result.image_scale) == random_scales(result.seed)
        assert f"CFG scale: {result.text_scale}, Image CFG scale: {result.image_scale}," in result.infotext
        alone = editor.edit(replace(edit, seed=result.seed, text_scale=result.text_scale, image_scale=result.image_scale))[0]
        assert difference(alone, result) <= 1


@pytest.mark.parametrize("sampler", ("Euler", "Euler a"))
def test_the_noise_may_be_given(editor, edit, sampler):
    edit = replace(edit, sampler_name=sampler)
    own = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(7))
    assert difference(editor.edit(edit, noise=[own])[0], editor.edit(edit)[0]) == 0
    assert difference(editor.edit(edit, noise=-own[None])[0], editor.edit(edit)[0]) > 1


def test_noise_of_another_shape_or_number_is_a_sentence(editor, edit):
    with pytest.raises(EditError, match="2 noises for 1 results"):
        editor.edit(edit, noise=torch.zeros(2, 4, 8, 8))
    with pytest.raises(EditError, match=r"\(4, 4, 4\) but the latent is \(4, 8, 8\)"):
        editor.edit(edit, noise=torch.zeros(1, 4, 4, 4))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_edit_may_start_from_the_picture(editor, edit, picture, sampler):
    edit = replace(edit, sampler_name=sampler, steps=8, text_scale=0.0, image_scale=0.0)  # the start is the only way in
    other = replace(edit, image=picture.rotate(180))
    assert difference(editor.edit(edit)[0], editor.edit(other)[0]) == 0
    assert difference(*(editor.edit(replace(e, denoising_strength=0.5))[0] for e in (edit, other))) > 1
    assert len(editor.rows) == (3 if sampler == "DDIM" else 5)
    run = Run(editor, editor._jobs([replace(edit, denoising_strength=0.5)], None))
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(7))[None]
    assert deviation(run.latents, run.scheduler.add_noise(run.start, noise, run.timesteps[:1])) <= 1e-5


def test_the_networks_are_left_as_they_were_given():
    editor = tiny_editor()
    assert all(parameter.requires_grad for parameter in editor.unet.parameters())


def test_the_instruction_the_negative_prompt_and_the_picture_act(editor, edit, picture):
    (plain,) = editor.edit(edit)
    for change in (dict(instruction="a red hat"), dict(negative_prompt="snow"), dict(image=picture.rotate(180)), dict(image_scale=1.1)):
        assert difference(plain, editor.edit(replace(edit, **change))[0]) > 1


def test_steps_are_reported_and_a_callback_stops_the_edit(editor, edit):
    edits, seen = [edit, replace(edit, steps=2)], []
    editor.edit(edits, on_step=lambda step, total, latents: seen.append((step, total, tuple(latents.shape))))
    assert seen == [(step, 6, (1, 4, 8, 8)) for step in range(1, 7)]
    with pytest.raises(Interrupted) as stopped:
        editor.edit(edits, on_step=lambda step, total, latents: step < 5)
    assert [result.seed for result in stopped.value.results] == [7]


def test_the_infotext_is_the_webui_s(editor, edit):
    (result,) = editor.edit(replace(edit, width=None, height=None, longest_side=64, text_end=0.8, denoising_strength=0.75))
    first, negative, fields = result.infotext.split("\n")
    assert (first, negative) == ("make it winter", "Negative prompt: blurry")
    assert fields.startswith(
        "Steps: 4, Sampler: Euler, Schedule type: Automatic, CFG scale: 7.5, Image CFG scale: 1.5, Seed: 7, Size: 64x64, Model: tiny, Instruct edit: "
    )
    assert fields.endswith("Instruct edit text end: 0.8, Instruct edit longest side: 64, Denoising strength: 0.75")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (dict(sampler_name="Eulerian"), "Known ones: Euler a, Euler, DPM"),
        (dict(scheduler="Karras"), "Known ones: Automatic, SGM Uniform"),
        (dict(scheduler="SGM Uniform", sampler_name="DDIM"), "DDIM has timesteps of its own: leave the schedule type at Automatic"),
        (dict(styles=("watercolour",)), "Styles are the WebUI's"),
        (dict(sampler_name="DDIM", steps=1), "makes no step at 1 steps"),
        (dict(sampler_name="DDIM", steps=4, denoising_strength=0.1), "makes no step"),
    ],
)
def test_what_the_editor_can_t_do_is_a_sentence(editor, edit, change, sentence):
    with pytest.raises(EditError, match=sentence):
        editor.edit(replace(edit, **change))
