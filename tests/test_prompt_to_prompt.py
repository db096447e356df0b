"""Two captions drawn so that only the edit differs: what Prompt-to-Prompt replaces, and what it leaves alone."""

import math

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="pairs need diffusers (pip install -e '.[edit]')")
import torch
from diffusers import UNet2DConditionModel

from convert_cases import UNET_CONFIG, diffusers_folder
from ip2p.checkpoints.convert import folder_to_file
from ip2p.dataset.generated.draws import Draw, draw
from ip2p.dataset.generated.prompt_to_prompt import shared_attention, shares_at, source_rows
from ip2p.dataset.generated.text_to_image import Sampling, TextToImage
from ip2p.errors import EditError
from tiny_model import tiny_networks

pytestmark = pytest.mark.usefixtures("one_thread_and_no_hub")
CAPTIONS = "a photo of a dog at noon", "a photo of a dog in the snow"
FAST = Sampling(size=64, steps=4)


@pytest.fixture(scope="module")
def model():
    return TextToImage(**tiny_networks(channels=4), name="tiny")


@pytest.fixture
def inputs(model):
    """latents of two pairs (u₀ u₀, u₁ u₁, c₀ c₀, c₁ c₁), the timestep, texts."""
    latents = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return latents, torch.tensor(500), model.texts(CAPTIONS).repeat_interleave(2, 0)


def predicted(model, inputs):
    latents, t, texts = inputs
    with torch.no_grad():
        return model.unet(latents, t, encoder_hidden_states=texts).sample


class ReplacedLogits:
    """A reference written down from the paper: the logits are made, and those of some rows put in place of others'."""

    def __init__(self, replaced: dict[int, int]):
        self.replaced = replaced

    def __call__(self, attention, hidden_states, encoder_hidden_states=None, **_):
        read = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        heads, of = attention.heads, {}
        for name, x in (("to_q", hidden_states), ("to_k", read), ("to_v", read)):
            of[name] = getattr(attention, name)(x).unflatten(-1, (heads, -1)).movedim(-2, 1)
        logits = of["to_q"] @ of["to_k"].mT / math.sqrt(of["to_q"].shape[-1])
        if encoder_hidden_states is None:
            for row, first in self.replaced.items():
                logits[row] = logits[first].clone()
        out = (logits.softmax(-1) @ of["to_v"]).movedim(1, -2).flatten(-2)
        return attention.to_out[0](out)


@pytest.mark.parametrize(
    "shares, replaced", [((True, True), {2: 0, 3: 1, 6: 4, 7: 5}), ((False, True), {3: 1, 7: 5}), ((False, False), {})]
)
def test_queries_and_keys_of_the_first_are_its_logits_in_place_of_the_seconds(model, inputs, shares, replaced):
    with shared_attention(model.unet) as attention:
        attention.source = source_rows(shares)
        ours = predicted(model, inputs)
    before = model.unet.attn_processors
    model.unet.set_attn_processor(ReplacedLogits(replaced))
    try:
        reference = predicted(model, inputs)
    finally:
        model.unet.set_attn_processor(before)
    assert (ours - reference).abs().max() <= 1e-5
    moved = (predicted(model, inputs) - reference).abs().amax((1, 2, 3)) > 1e-4
    assert moved.tolist() == [row in replaced for row in range(8)], "rows that share come out otherwise, the others as without"


def test_after_it_the_network_is_as_it_was(model, inputs):
    plain, processors = predicted(model, inputs), model.unet.attn_processors
    with pytest.raises(ZeroDivisionError), shared_attention(model.unet) as attention:
        attention.source = source_rows([True, True])
        raise ZeroDivisionError
    assert model.unet.attn_processors == processors and torch.equal(predicted(model, inputs), plain)


def test_rows_of_one_pair_take_those_of_the_paper():
    assert source_rows([True]).tolist() == [0, 0, 2, 2]
    assert source_rows([True, False, True]).tolist() == [0, 1, 2, 0, 4, 2, 6, 7, 8, 6, 10, 8]
    assert source_rows([False, False]) is None


@pytest.mark.parametrize("threshold, steps, expected", [(0.5, 5, 2), (0.0, 5, 0), (1.0, 5, 4), (0.9, 100, 90), (0.26, 5, 2), (0.1, 1, 1)])
def test_the_second_follows_the_first_while_p_is_above_the_share_of_steps(threshold, steps, expected):
    follows = [shares_at(step, steps, threshold) for step in range(steps)]
    assert follows == [True] * expected + [False] * (steps - expected)


@pytest.mark.parametrize("sampler", ["Euler a", "Euler", "DPM++ 2M", "DDIM"])
def test_equal_captions_give_equal_pictures_bit_for_bit(model, sampler):
    draws = [Draw(7, 0.6, 9.0), Draw(8, 0.0, 12.0), Draw(9, 0.3, 7.5)]
    pairs = model.draw_pairs((CAPTIONS[0], CAPTIONS[0]), draws, Sampling(64, 4, sampler))
    assert all(np.array_equal(first, second) for first, second in pairs)
    assert not np.array_equal(pairs[0][0], pairs[1][0])


def sampled_alone(model, caption, seed, guidance, steps):
    """Euler ancestral by its formula (k-diffusion, `sample_euler_ancestral`), one caption, classifier-free guidance."""
    generator = torch.Generator().manual_seed(seed)
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    all_sigmas = ((1 - alphas) / alphas) ** 0.5
    timesteps = np.linspace(0, 999, steps)[::-1]
    sigmas = [float(np.interp(t, range(1000), all_sigmas)) for t in timesteps] + [0.0]
    x = torch.randn(1, 4, 8, 8, generator=generator) * sigmas[0]
    with torch.no_grad():
        text, empty = model.encode_text(caption)[None], model.encode_text("")[None]
        for t, sigma, following in zip(timesteps, sigmas, sigmas[1:]):
            scaled = x / (sigma**2 + 1) ** 0.5
            full, uncond = (model.unet(scaled, torch.tensor(t), encoder_hidden_states=words).sample for words in (text, empty))
            noise = uncond + guidance * (full - uncond)
            up = min(following, (following**2 * (sigma**2 - following**2) / sigma**2) ** 0.5)
            down = (following**2 - up**2) ** 0.5
            x = x + noise * (down - sigma) + torch.randn(1, 4, 8, 8, generator=generator) * up
    return x[0]


def test_without_it_both_pictures_are_sampled_as_they_would_be_alone_from_the_same_noise(model):
    latents = model.latents(CAPTIONS, [Draw(5, 0.0, 7.5), Draw(6, 0.0, 9.0)], FAST)
    for sample, (seed, guidance) in zip(latents, ((5, 7.5), (6, 9.0))):
        for latent, caption in zip(sample, CAPTIONS):
            alone = sampled_alone(model, caption, seed, guidance, FAST.steps)
            assert torch.allclose(latent, alone, rtol=1e-3, atol=1e-3 * alone.std().item())


def test_with_it_the_first_picture_is_the_same_and_the_second_another(model):
    without, with_it = (model.latents(CAPTIONS, [Draw(5, p, 7.5)], FAST)[0] for p in (0.0, 0.8))
    assert torch.allclose(without[0], with_it[0], atol=1e-4) and not torch.allclose(without[1], with_it[1], atol=1e-2)


def test_a_sample_is_the_same_in_any_batch_within_a_level(model):
    draws = [draw(0, "row", k) for k in range(3)]
    together = model.draw_pairs(CAPTIONS, draws, FAST)
    apart = [model.draw_pairs(CAPTIONS, [one], FAST)[0] for one in draws]
    assert np.abs(np.array(together) - np.array(apart)).max() < 1


def test_captions_of_different_length_are_read_whole(model):
    long = ", ".join(["a dog"] * 60)
    assert len(model.tokens(long)) > 1
    texts = model.texts((CAPTIONS[0], long))
    assert texts.shape[:2] == (4, 77 * len(model.tokens(long))) and torch.equal(texts[2, :77], model.encode_text(CAPTIONS[0]))


def test_draws_lie_in_their_ranges_and_depend_on_seed_row_and_number_alone():
    draws = [draw(1, f"row {i}", k) for i in range(40) for k in range(50)]
    for name, low, high in (("p", 0.1, 0.9), ("guidance", 7.5, 15.0)):
        values = np.array([getattr(one, name) for one in draws])
        assert low <= values.min() < low + 0.01 * (high - low) and high - 0.01 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    assert len({one.seed for one in draws}) == len(draws) and all(0 <= one.seed < 2**48 for one in draws)
    assert draw(1, "row 3", 7) == draws[3 * 50 + 7] != draw(2, "row 3", 7)
    assert draw(1, "row 3", 7, (0.5, 0.5), (2.0, 2.0)) == Draw(draws[157].seed, 0.5, 2.0)


def test_a_single_file_draws_what_its_folder_draws(tmp_path):
    folder = diffusers_folder(tmp_path / "folder")
    UNet2DConditionModel(**UNET_CONFIG | {"in_channels": 4}).save_pretrained(folder / "unet")
    folder_to_file(folder, tmp_path / "sd.safetensors", half=False, force=False)
    drawn = [
        TextToImage.load(model, "cpu").draw_pairs(("a", "a a"), [Draw(3, 0.5, 7.5)], Sampling(32, 2))[0]
        for model in (folder, tmp_path / "sd.safetensors")
    ]
    assert np.array_equal(*drawn) and not np.array_equal(*drawn[0])


def test_a_model_of_another_kind_is_refused_in_a_sentence():
    with pytest.raises(EditError, match="“edit” is not a text-to-image model: its network has 8 input channels, not 4"):
        TextToImage(**tiny_networks(channels=8), name="edit")
