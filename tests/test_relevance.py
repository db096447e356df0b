"""Where an instruction acts, by how far its text moves the network's prediction."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ip2p.relevance import LEVELS, along_outlines, centred, otsu, question_for, region_levels, relevance, without_outliers

ALPHAS = torch.linspace(0.999, 0.005, 1000)
BOX = slice(2, 6), slice(3, 9)


def inside(size=(12, 16), box=BOX):
    levels = torch.zeros(size)
    levels[box] = 1
    return levels


class MovesABox:
    """A network that predicts the noised latent, moved within a box by the text's mean and everywhere by something of the noise."""

    def __init__(self, strength=1.0):
        self.strength, self.levels = strength, []

    def __call__(self, latent, level, picture, text):
        self.levels.append(level.tolist())
        amount = text.mean((1, 2))[:, None, None, None]
        return self.strength * (latent + amount * (inside() + 0.2 * latent.sin()))


def asked(network, seed=0, text=1.0):
    source = torch.randn(4, 12, 16, generator=torch.Generator().manual_seed(3))
    return relevance(network, source, source, torch.full((77, 8), text), torch.zeros(77, 8), ALPHAS, seed)


def test_the_map_is_high_where_the_text_moves_the_prediction():
    levels = asked(network := MovesABox())
    assert levels.shape == (12, 16) and float(levels.min()) >= 0 and float(levels.max()) <= 1
    assert float(levels[BOX].min()) > float(levels[inside() == 0].max())
    assert network.levels == [[round(999 * level) for level in LEVELS] * 2], "two rows for every noise, in one call"


def test_the_map_follows_from_its_seed_alone():
    assert torch.equal(asked(MovesABox()), asked(MovesABox()))
    assert not torch.equal(asked(MovesABox()), asked(MovesABox(), seed=1))


def test_the_map_is_the_same_of_any_parameterisation():
    assert torch.allclose(asked(MovesABox()), asked(MovesABox(strength=-0.3)), atol=1e-5)


def test_a_text_that_says_nothing_acts_nowhere():
    assert not asked(MovesABox(), text=0.0).any()


def test_a_few_large_differences_do_not_hide_the_others():
    levels = torch.rand(20, 20, generator=torch.Generator().manual_seed(1))
    spiked = levels.clone()
    spiked[0, 0] = 1e4
    assert float((without_outliers(spiked) - without_outliers(levels)).abs()[1:].max()) < 0.5
    assert float(without_outliers(spiked)[0, 0]) == 1


@given(st.floats(0.05, 0.4), st.floats(0.6, 0.95), st.floats(0.1, 0.9))
def test_the_threshold_lies_between_two_classes(low, high, share):
    levels = torch.where(torch.arange(1000) < 1000 * share, low, high)
    assert low < otsu(levels) <= high


def test_the_threshold_that_suits_a_map_comes_to_lie_at_one_half():
    levels = torch.linspace(0, 1, 101)
    moved = centred(levels)
    assert bool((moved.diff() > 0).all()) and moved[[0, -1]].tolist() == [0, 1]
    assert float(moved[levels >= otsu(levels)].min()) >= 0.5 > float(moved[levels < otsu(levels)].max())
    assert bool((centred(levels, 1.2) <= moved).all())
    assert region_levels(torch.tensor([0.0, 0.5, 1.0])).tolist() == [0, 0.5, 1]


def test_a_coarse_map_takes_the_outline_of_the_picture():
    shape = inside((96, 128), (slice(20, 70), slice(30, 100)))
    picture = torch.stack([0.2 + 0.6 * shape, 0.5 - 0.3 * shape, torch.full_like(shape, 0.4)])
    coarse = torch.nn.functional.avg_pool2d(shape[None, None], 16)[0, 0]
    fine = along_outlines(coarse, picture)
    blurred = torch.nn.functional.interpolate(coarse[None, None], size=(96, 128), mode="bilinear")[0, 0]
    wrong = [float(((levels > 0.5).float() - shape).abs().mean()) for levels in (fine, blurred)]
    assert fine.shape == (96, 128) and wrong[0] < 0.005 < wrong[1]


@pytest.mark.parametrize(
    "instruction, is_left_alone",
    [
        ("make the background snowy", True),
        ("Blur everything BEHIND the dog", True),
        ("turn the cat to gold", False),
        ("make it winter", False),
    ],
)
def test_a_background_is_what_an_edit_of_the_subject_leaves_alone(instruction, is_left_alone):
    question, alone = question_for(instruction)
    assert alone == is_left_alone and (question == instruction) != is_left_alone
