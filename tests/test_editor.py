"""The editor without the WebUI: the paper's formula, the passes that run, seeds, masks, prompts, memory, and sentences."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from ip2p.checkpoints.clip import STANDARD
from ip2p.checkpoints.ldm import standard
from ip2p.checkpoints.recognise import TEXT_1, UNET, VAE
from ip2p.edit import Edit, Variant, random_scales
from ip2p.editor import OUT_OF_MEMORY, SAMPLERS, Editor, Interrupted, Run
from ip2p.errors import EditError
from ip2p.images import fit
from tiny_model import save_folder, tiny_editor

ROOT = Path(__file__).resolve().parents[1]
NEGATIVE = "blurry"

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


@pytest.fixture(scope="module", autouse=True)
def one_thread_and_no_hub():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def editor() -> Editor:
    return tiny_editor()


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    ImageDraw.Draw(image).ellipse((8, 16, 40, 56), fill=(200, 40, 90))
    return image


@pytest.fixture
def edit(picture) -> Edit:
    return Edit(
        image=picture, instruction="make it winter", negative_prompt=NEGATIVE, seed=7, steps=4, width=64, height=64, sampler_name="Euler"
    )


def final_latents(editor: Editor, edit: Edit, **options) -> torch.Tensor:
    """(results of the last batch, 4, h, w)"""
    seen = []
    editor.edit(edit, on_step=lambda step, total, latents: seen.append(latents), **options)
    return seen[-1]


@torch.inference_mode()
def plain_formula(editor: Editor, edit: Edit, seed: int) -> torch.Tensor:
    """Equation 3 as the paper writes it: three separate calls of the network in every step, one picture. Pure noise only."""
    pixels = torch.from_numpy(np.array(edit.image.resize((edit.width, edit.height)), dtype=np.float32) / 127.5 - 1)
    moments = editor.vae.quant_conv(editor.vae.encoder(pixels.permute(2, 0, 1)[None]))
    c_image, nothing = moments[:, :4], torch.zeros_like(moments[:, :4])

    def text(words):
        ids = editor.tokenizer(words, padding="max_length", max_length=77, return_tensors="pt").input_ids
        return editor.text_encoder(input_ids=ids).last_hidden_state

    c_text, no_text = text(edit.instruction), text(edit.negative_prompt)
    scheduler, timesteps = editor.timesteps(edit)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(4, 8, 8, generator=generator)[None] * scheduler.init_noise_sigma
    for t in timesteps:
        x = scheduler.scale_model_input(z, t)

        def e(image, words, x=x, t=t):
            return editor.unet(torch.cat([x, image], 1), t, words).sample

        guidance = edit.guidance()
        s_text, s_image = guidance.at(min(max(1 - float(t) / 999, 0), 1))
        e_nothing, e_image, e_full = e(nothing, no_text), e(c_image, no_text), e(c_image, c_text)
        guided = e_nothing + s_image * (e_image - e_nothing) + s_text * (e_full - e_image)
        options = {"generator": generator} if edit.sampler_name == "Euler a" else {}
        z = scheduler.step(guided, t, z, **options).prev_sample
    return z


def deviation(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference as a share of the largest latent."""
    ours, theirs = ours.detach(), theirs.detach()
    return float((ours - theirs).abs().max() / theirs.abs().max())


SCALES = ((7.5, 1.5), (7.5, 1.0), (1.5, 1.5), (0.0, 1.5), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0), (3.0, 0.5))


@pytest.mark.parametrize("text_scale, image_scale", SCALES)
def test_an_edit_equals_the_plain_formula_with_three_passes(editor, edit, text_scale, image_scale):
    edit = replace(edit, text_scale=text_scale, image_scale=image_scale)
    assert deviation(final_latents(editor, edit), plain_formula(editor, edit, 7)) <= 1e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", (2, 7))
def test_every_sampler_equals_the_plain_formula(editor, edit, sampler, steps):
    edit = replace(edit, sampler_name=sampler, steps=steps)
    assert deviation(final_latents(editor, edit), plain_formula(editor, edit, 7)) <= 1e-5


def test_a_model_that_predicts_v_equals_the_plain_formula(edit):
    editor = tiny_editor(prediction_type="v_prediction")
    assert deviation(final_latents(editor, edit), plain_formula(editor, edit, 7)) <= 1e-5


@pytest.mark.parametrize("sampler", ("Euler a", "Euler", "DPM++ 2M", "UniPC"))
@pytest.mark.parametrize("scales", ((7.5, 1.5), (7.5, 1.0), (1.5, 1.5)))
def test_an_edit_equals_diffusers_own_pipeline(editor, edit, sampler, scales):
    edit = replace(edit, sampler_name=sampler, text_scale=scales[0], image_scale=scales[1], steps=6)
    assert deviation(final_latents(editor, edit), pipeline_latents(editor, edit)) <= 1e-4


def pipeline_latents(editor: Editor, edit: Edit) -> torch.Tensor:
    from diffusers import StableDiffusionInstructPix2PixPipeline

    pipeline = StableDiffusionInstructPix2PixPipeline(
        editor.vae, editor.text_encoder, editor.tokenizer, editor.unet, editor.scheduler(edit), None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(edit.seed)
    done = pipeline(
        edit.instruction, edit.image, edit.steps, edit.text_scale, edit.image_scale, edit.negative_prompt, output_type="latent",
        latents=torch.randn(4, 8, 8, generator=generator)[None], generator=generator,
    )  # fmt: skip
    return done.images


@pytest.mark.parametrize(
    "text_scale, image_scale, text_is_negative, rows",
    [
        (7.5, 1.5, False, 3), (7.5, 1.0, False, 2), (1.5, 1.5, False, 2), (0.0, 1.5, False, 2), (1.0, 1.0, False, 1),
        (0.0, 1.0, False, 1), (0.0, 0.0, False, 1), (7.5, 1.5, True, 2), (7.5, 1.0, True, 1), (7.5, 0.0, True, 1),
    ],
)  # fmt: skip
def test_a_pass_without_weight_is_never_run(editor, edit, text_scale, image_scale, text_is_negative, rows):
    negative = "Make  it winter" if text_is_negative else NEGATIVE  # the same tokens
    editor.edit(replace(edit, text_scale=text_scale, image_scale=image_scale, negative_prompt=negative))
    assert editor.rows == [rows] * edit.steps


def test_passes_are_counted_picture_by_picture(editor, edit):
    cells = (Variant(7.5, 1.5, 7), Variant(7.5, 1.0, 7), Variant(1.0, 1.0, 7))
    results = editor.edit(replace(edit, variants=cells))
    assert editor.rows == [3 + 2 + 1] * edit.steps
    for cell, result in zip(cells, results):
        (alone,) = editor.edit(replace(edit, text_scale=cell.text_scale, image_scale=cell.image_scale))
        assert difference(alone, result) <= 1


def test_a_schedule_is_kept_and_its_passes_are_dropped_outside(editor, edit):
    edit = replace(edit, steps=5, text_start=0.3, image_start=0.3, image_end=0.6)
    assert deviation(final_latents(editor, edit), plain_formula(editor, edit, 7)) <= 1e-5
    editor.edit(edit)
    assert editor.rows == [1, 1, 3, 2, 2]  # before the start both scales are 1, after the end of the image's that one is


def difference(one, other) -> int:
    """The largest, in levels of 255."""
    return int(np.abs(np.asarray(one.image, dtype=int) - np.asarray(other.image, dtype=int)).max())


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


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", (1, 2, 3, 30, 200))
def test_a_sampler_begins_at_the_noisiest_timestep_whatever_the_step_count(editor, edit, sampler, steps):
    edit = replace(edit, sampler_name=sampler, steps=steps)
    if (sampler, steps) == ("DDIM", 1):
        with pytest.raises(EditError, match="makes no step at 1 steps"):
            editor.timesteps(edit)
    else:
        _, timesteps = editor.timesteps(edit)
        assert float(timesteps[0]) > 500
        assert (timesteps.diff() <= 0).all()


def half_mask(size) -> Image.Image:
    """White, that is edited, on the right."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2 + 3, 0, *size))
    return mask


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", (1.0, 0.6))
def test_a_mask_keeps_every_other_pixel_exactly(editor, edit, picture, sampler, strength):
    mask = half_mask(picture.size)
    black = np.asarray(mask) == 0
    edit = replace(edit, mask=mask, sampler_name=sampler, denoising_strength=strength, count=2)
    for result in editor.edit(edit):
        pixels = np.asarray(result.image)
        assert (pixels[black] == np.asarray(picture)[black]).all()
        assert (pixels[~black] != np.asarray(picture)[~black]).any(axis=-1).mean() > 0.5
        assert "Instruct edit mask: True" in result.infotext


@pytest.mark.parametrize("prediction_type", ("epsilon", "v_prediction"))
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_latents_outside_the_mask_become_the_picture_s(edit, picture, sampler, prediction_type):
    editor = tiny_editor(prediction_type=prediction_type)
    latents = final_latents(editor, replace(edit, mask=half_mask(picture.size), sampler_name=sampler, steps=10))[0]
    own = editor.encode_picture(picture) * editor.vae.config.scaling_factor
    # DDIM stops at timestep 1, where a little noise is left.
    assert (latents - own)[..., :4].abs().max() <= (0.2 if sampler == "DDIM" else 1e-3)


def test_a_mask_keeps_every_other_pixel_at_the_picture_s_own_size(editor, edit, picture):
    wide = picture.resize((150, 90))
    mask = half_mask(wide.size)
    edit = replace(edit, image=wide, mask=mask, own_size=True, width=None, height=None, longest_side=128)
    (result,) = editor.edit(edit)
    black = np.asarray(mask) == 0
    assert result.image.size == (150, 90)
    assert (np.asarray(result.image)[black] == np.asarray(wide)[black]).all()
    assert "Size: 128x64" in result.infotext and "Instruct edit own size: True" in result.infotext


@pytest.mark.parametrize("mode", ("RGBA", "L", "P", "LA"))
def test_a_picture_of_another_mode_is_edited(editor, edit, picture, mode):
    image = picture.convert(mode)
    results = editor.edit(replace(edit, image=image, mask=half_mask(image.size), own_size=True))
    assert (np.asarray(results[0].image)[:, :32] == np.asarray(image.convert("RGB"))[:, :32]).all()


def test_the_networks_are_left_as_they_were_given():
    editor = tiny_editor()
    assert all(parameter.requires_grad for parameter in editor.unet.parameters())


def test_the_heat_map_shows_where_both_passes_ran_and_is_missing_elsewhere(editor, edit):
    first, second = editor.edit([replace(edit, heat_map=True, count=2), replace(edit, heat_map=True, text_scale=1.5, count=1)])[1:]
    assert first.heat_map.size == first.image.size and second.heat_map is None
    assert editor.edit(edit)[0].heat_map is None


@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
@pytest.mark.parametrize("prediction_type", ("epsilon", "v_prediction"))
def test_the_heat_is_the_sum_over_all_steps_of_how_far_the_text_moves_epsilon(edit, monkeypatch, sampler, prediction_type):
    editor = tiny_editor(prediction_type=prediction_type)
    moves, forward = [], editor.unet.forward

    def watched(x, t, **options):
        prediction = forward(x, t, **options)
        full, image, _ = prediction.sample
        moves.append(((full - image).abs().mean(0), float(t[0])))
        return prediction

    monkeypatch.setattr(editor.unet, "forward", watched)
    run = Run(editor, editor._jobs([replace(edit, sampler_name=sampler, heat_map=True)], None))
    with torch.inference_mode():
        run.denoise(None)
    cumulative = run.scheduler.alphas_cumprod  # α² of every timestep; ε = α·v + σ·x
    scales = [float(cumulative[round(t)]) ** 0.5 if prediction_type == "v_prediction" else 1.0 for _, t in moves]
    expected = sum(move * scale for (move, _), scale in zip(moves, scales))
    assert len(moves) == (3 if sampler == "DDIM" else 4)
    assert deviation(run.heat[0], expected) <= 1e-4


def test_long_prompts_are_chunks_of_75_between_their_own_ends(editor):
    bos, eos = editor.tokenizer.bos_token_id, editor.tokenizer.eos_token_id
    for count, chunks in ((0, 1), (75, 1), (76, 2), (150, 2), (151, 3)):
        tokens = editor.tokens("a " * count)
        assert len(tokens) == chunks and all(len(chunk) == 77 and chunk[0] == bos and chunk[-1] == eos for chunk in tokens)
        assert sum(token not in (bos, eos) for chunk in tokens for token in chunk) == count
    text = "a " * 100
    encoded = editor.encode_text(text)
    assert encoded.shape[0] == 154
    assert torch.allclose(encoded[77:], editor.encode_text("a " * 25), atol=1e-6)
    assert editor.tokens("snow") == [editor.tokenizer("snow", padding="max_length", max_length=77).input_ids]


def test_a_chunk_ends_at_a_comma_near_its_end(editor):
    first, second = editor.tokens("a " * 60 + ", " + "b " * 30)
    eos = editor.tokenizer.eos_token_id
    assert len([token for token in first[1:] if token != eos]) == 61
    assert len([token for token in second[1:] if token != eos]) == 30
    first, _ = editor.tokens("a " * 40 + ", " + "b " * 50)
    assert len([token for token in first[1:] if token != eos]) == 75


def test_a_prompt_and_a_negative_prompt_of_other_lengths_are_edited(editor, edit, monkeypatch):
    shapes, forward = [], editor.unet.forward
    monkeypatch.setattr(
        editor.unet, "forward", lambda x, *a, **k: shapes.append(tuple(k["encoder_hidden_states"].shape[:2])) or forward(x, *a, **k)
    )
    long = replace(edit, instruction="a " * 90, steps=2)  # a token a word in any vocabulary
    (alone,) = editor.edit(long)
    assert editor.rows == [3, 3] and shapes == [(1, 154), (2, 77)] * 2
    both = editor.edit([replace(edit, steps=2), long])
    assert difference(alone, both[1]) <= 1


def test_the_instruction_the_negative_prompt_and_the_picture_act(editor, edit, picture):
    (plain,) = editor.edit(edit)
    for change in (dict(instruction="a red hat"), dict(negative_prompt="snow"), dict(image=picture.rotate(180)), dict(image_scale=1.1)):
        assert difference(plain, editor.edit(replace(edit, **change))[0]) > 1


@pytest.mark.parametrize("most, calls", ((2, [6, *[2] * 6]), (1, [6, 2, *[1] * 12])))
def test_when_memory_runs_out_passes_run_in_smaller_calls_and_the_picture_stays(editor, edit, monkeypatch, most, calls):
    edit = replace(edit, count=2, steps=2)
    whole = editor.edit(edit)
    rows, forward = [], editor.unet.forward

    def short_of_memory(x, *args, **kwargs):
        rows.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("the test has no more")
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(editor.unet, "forward", short_of_memory)
    short = editor.edit(edit)
    assert [difference(a, b) <= 1 for a, b in zip(whole, short)] == [True, True]
    assert rows == calls and editor.rows == [6, 6]


def test_when_one_row_is_too_much_it_is_a_sentence(editor, edit, monkeypatch):
    def none(*args, **kwargs):
        raise torch.OutOfMemoryError("none at all")

    monkeypatch.setattr(editor.unet, "forward", none)
    with pytest.raises(EditError, match=OUT_OF_MEMORY):
        editor.edit(edit)


def test_steps_are_reported_and_a_callback_stops_the_edit(editor, edit):
    edits, seen = [edit, replace(edit, steps=2)], []
    editor.edit(edits, on_step=lambda step, total, latents: seen.append((step, total, tuple(latents.shape))))
    assert seen == [(step, 6, (1, 4, 8, 8)) for step in range(1, 7)]
    with pytest.raises(Interrupted) as stopped:
        editor.edit(edits, on_step=lambda step, total, latents: step < 5)
    assert [result.seed for result in stopped.value.results] == [7]


CHAIN = "make it winter\n\n  add a hat "


def by_hand(editor, edit, seed) -> list:
    """A chain of `CHAIN` for one seed, line by line: of each line its result."""
    first = editor.edit(replace(edit, instruction="make it winter", seed=seed, count=1))[0]
    second = editor.edit(replace(edit, instruction="add a hat", seed=seed, count=1, image=first.image))[0]
    return [first, second]


@pytest.mark.parametrize("batch_size", (16, 1))
def test_result_k_of_a_line_starts_from_result_k_of_the_line_before(editor, edit, batch_size):
    results = editor.edit(replace(edit, instruction=CHAIN, count=2), batch_size=batch_size)
    assert [(result.infotext.splitlines()[0], result.seed) for result in results] == [
        ("make it winter", 7), ("make it winter", 8), ("add a hat", 7), ("add a hat", 8),
    ]  # fmt: skip
    expected = [by_hand(editor, edit, seed)[line] for line in (0, 1) for seed in (7, 8)]
    assert [difference(ours, theirs) <= 1 for ours, theirs in zip(results, expected)] == [True] * 4
    other = editor.edit(replace(edit, instruction="add a hat", seed=8, image=results[0].image))[0]
    assert difference(results[3], other) > 1, "the lines' pictures differ enough to tell"


def test_chains_of_several_edits_come_back_edit_by_edit(editor, edit):
    edits = [edit, replace(edit, instruction=CHAIN), replace(edit, instruction="a\nb\nc", width=72, steps=2)]
    results = editor.edit(edits)
    assert [result.infotext.splitlines()[0] for result in results] == ["make it winter", "make it winter", "add a hat", "a", "b", "c"]
    assert [result.image.width for result in results] == [64, 64, 64, 72, 72, 72]
    assert difference(results[2], by_hand(editor, edit, 7)[1]) <= 1


def test_a_chain_has_one_seed_and_one_pair_of_scales_a_result(editor, edit):
    results = editor.edit(replace(edit, instruction=CHAIN, seed=-1, count=2, randomise_scales=True))
    assert [result.seed for result in results[2:]] == [result.seed for result in results[:2]]
    for result in results:
        assert (result.text_scale, result.image_scale) == random_scales(result.seed)


@pytest.mark.parametrize("own_size", (False, True))
def test_a_mask_holds_for_every_line_and_no_line_changes_the_size(editor, edit, picture, own_size):
    wide = picture.resize((150, 90))
    mask = half_mask(wide.size)
    edit = replace(edit, image=wide, mask=mask, own_size=own_size, width=None, height=None, longest_side=128, instruction="a\nb\nc")
    results = editor.edit(edit)
    size = (150, 90) if own_size else (128, 64)
    black = np.asarray(fit(mask, size)) == 0
    before = np.asarray(fit(wide, size))
    for result in results:
        assert result.image.size == size and "Size: 128x64" in result.infotext and "Instruct edit mask: True" in result.infotext
        assert (np.asarray(result.image)[black] == before[black]).all()
        assert (np.asarray(result.image)[~black] != before[~black]).any(axis=-1).mean() > 0.5
        before = np.asarray(result.image)


def test_the_noise_of_a_result_holds_for_every_line(editor, edit):
    own = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    results = editor.edit(replace(edit, instruction=CHAIN, count=2), noise=own)
    for k in (0, 1):
        first = editor.edit(replace(edit, seed=7 + k), noise=own[k : k + 1])[0]
        second = editor.edit(replace(edit, instruction="add a hat", seed=7 + k, image=first.image), noise=own[k : k + 1])[0]
        assert difference(results[2 + k], second) <= 1


def test_every_line_has_a_heat_map_of_its_own(editor, edit):
    results = editor.edit(replace(edit, instruction=CHAIN, heat_map=True))
    alone = [editor.edit(replace(edit, heat_map=True))[0]]
    alone += editor.edit(replace(edit, instruction="add a hat", image=alone[0].image, heat_map=True))
    maps = [np.asarray(result.heat_map, dtype=int) for result in results]
    assert [abs(ours - np.asarray(one.heat_map, dtype=int)).max() <= 3 for ours, one in zip(maps, alone)] == [True, True]
    assert abs(maps[0] - maps[1]).max() > 3


def test_the_steps_of_all_lines_are_counted_and_a_stopped_chain_gives_its_finished_lines(editor, edit):
    seen = []
    edit = replace(edit, instruction="a\nb\nc")
    editor.edit(edit, on_step=lambda step, total, latents: seen.append((step, total)))
    assert seen == [(step, 12) for step in range(1, 13)]
    with pytest.raises(Interrupted) as stopped:
        editor.edit(edit, on_step=lambda step, total, latents: step < 10)
    assert [result.infotext.splitlines()[0] for result in stopped.value.results] == ["a", "b"]


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_lower_precision_gives_nearly_the_same_picture(editor, edit, dtype):
    exact = final_latents(editor, edit)
    rough = final_latents(tiny_editor().to("cpu", dtype), edit)
    assert deviation(rough, exact) <= 0.2


def test_the_infotext_is_the_webui_s(editor, edit):
    (result,) = editor.edit(replace(edit, width=None, height=None, longest_side=64, text_end=0.8, denoising_strength=0.75))
    first, negative, fields = result.infotext.split("\n")
    assert (first, negative) == ("make it winter", "Negative prompt: blurry")
    assert fields.startswith(
        "Steps: 4, Sampler: Euler, Schedule type: Automatic, CFG scale: 7.5, Image CFG scale: 1.5, Seed: 7, Size: 64x64, Model: tiny, Instruct edit: "
    )
    assert fields.endswith("Instruct edit text end: 0.8, Instruct edit longest side: 64, Denoising strength: 0.75")


def test_a_folder_is_loaded_without_a_network(editor, edit, tmp_path):
    save_folder(editor, tmp_path)
    loaded = Editor.load(tmp_path, device="cpu")
    assert (loaded.name, loaded.dtype, loaded.device.type) == (tmp_path.name, torch.float32, "cpu")
    assert difference(loaded.edit(edit)[0], editor.edit(edit)[0]) == 0
    assert Editor.load(str(tmp_path), device="cpu", dtype="bf16").dtype == torch.bfloat16


def test_what_is_no_edit_model_is_a_sentence(tmp_path):
    with pytest.raises(EditError, match="is not an edit model: its network has 4 input channels"):
        tiny_editor(channels=4)
    with pytest.raises(EditError, match="There is no model"):
        Editor.load(tmp_path / "missing.safetensors")
    with pytest.raises(EditError, match="holds no model"):
        Editor.load(tmp_path)
    for name in ("bad.safetensors", "bad.ckpt"):
        (tmp_path / name).write_bytes(b"\x08\0\0\0\0\0\0\0no model")
        with pytest.raises(EditError, match="can't be read"):
            Editor.load(tmp_path / name)
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(EditError, match="has no UNet"):
        Editor.load(tmp_path / "other.ckpt")
    torch.save({prefix + "a": torch.zeros(1) for prefix in (UNET, VAE, TEXT_1)}, tmp_path / "odd.ckpt")
    for content in ("a: [", "model: {}"):
        (tmp_path / "odd.yaml").write_text(content)
        with pytest.raises(EditError, match=r"odd\.yaml is no configuration"):
            Editor.load(tmp_path / "odd.ckpt")


def test_a_damaged_folder_is_a_sentence(editor, tmp_path):
    save_folder(editor, tmp_path)
    os.truncate(tmp_path / "text_encoder" / "model.safetensors", 1000)
    with pytest.raises(EditError, match=r"model\.safetensors can't be read"):
        Editor.load(tmp_path)


def test_a_file_without_a_yaml_is_taken_for_instruct_pix2pix():
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import single_file_utils as ldm
    from transformers import CLIPTextConfig, CLIPTextModel

    config = {"model": {"params": standard(8)}}
    with torch.device("meta"):
        unet = UNet2DConditionModel(**ldm.create_unet_diffusers_config_from_ldm(config, {}))
        vae = AutoencoderKL(**ldm.create_vae_diffusers_config_from_ldm(config, {}))
        text = CLIPTextModel(CLIPTextConfig(**STANDARD))
    # Stable Diffusion 1.5's, and four more input channels of 320 × 3 × 3.
    assert unet.num_parameters() == 859_520_964 + 4 * 320 * 9
    assert vae.num_parameters() == 83_653_863 and vae.config.scaling_factor == 0.18215
    assert text.num_parameters() == 123_060_480


def test_a_name_on_the_hub_without_a_network_is_a_sentence():
    script = "from ip2p.editor import Editor\ntry:\n    Editor.load('nobody/no-such-model')\nexcept ValueError as e:\n    print(type(e).__name__, e)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    assert done.stdout.startswith("EditError The model nobody/no-such-model can't be read on the hub"), done.stderr


@pytest.mark.parametrize(
    "change, sentence",
    [
        (dict(sampler_name="Eulerian"), "Known ones: Euler a, Euler, DPM"),
        (dict(scheduler="Karras"), "Known ones: Automatic"),
        (dict(styles=("watercolour",)), "Styles are the WebUI's"),
        (dict(sampler_name="DDIM", steps=1), "makes no step at 1 steps"),
        (dict(sampler_name="DDIM", steps=4, denoising_strength=0.1), "makes no step"),
    ],
)
def test_what_the_editor_can_t_do_is_a_sentence(editor, edit, change, sentence):
    with pytest.raises(EditError, match=sentence):
        editor.edit(replace(edit, **change))


def test_noise_of_another_shape_or_number_is_a_sentence(editor, edit):
    with pytest.raises(EditError, match="2 noises for 1 results"):
        editor.edit(edit, noise=torch.zeros(2, 4, 8, 8))
    with pytest.raises(EditError, match=r"\(4, 4, 4\) but the latent is \(4, 8, 8\)"):
        editor.edit(edit, noise=torch.zeros(1, 4, 4, 4))
