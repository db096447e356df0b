"""The maths of an edit: equation 3, which passes it needs, and when each scale acts."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ip2p.guidance import Guidance, Interval, Scope, combine, pass_weights, progress_at
from ip2p.passes import passes_needed, plan_passes

# Special scales, where passes are dropped, are drawn as often as all others.
SCALES = st.one_of(st.sampled_from([0.0, 1.0, 1.5, 7.5]), st.floats(0, 15))
PROMPT_WEIGHTS = st.lists(st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(-2, 2)), min_size=1, max_size=3)


class Batch:
    """A batch as the denoiser lays it out: every picture's sub-prompts, then `image` of every picture, then `uncond`.

    Rows of one picture named in `equal_groups`, by place in [full_1, …, full_n, image, uncond], have equal inputs and so
    equal predictions; all others differ.
    """

    def __init__(self, pictures, equal_groups=None, seed=0):
        """pictures: for each (text_scale, image_scale, prompt_weights)."""
        self.pictures = pictures
        texts = sum(len(weights) for _, _, weights in pictures)
        self.weights, self.rows, start = [], [], 0
        for i, (text, image, prompt_weights) in enumerate(pictures):
            self.weights.append(pass_weights(text, image, prompt_weights))
            self.rows.append([*range(start, start + len(prompt_weights)), texts + i, texts + len(pictures) + i])
            start += len(prompt_weights)
        generator = torch.Generator().manual_seed(seed)
        self.predictions = torch.rand(texts + 2 * len(pictures), 4, 3, 3, generator=generator, dtype=torch.float64) * 2 - 1
        self.kind = list(range(len(self.predictions)))
        for i, group in (equal_groups or {}).items():
            members = [self.rows[i][place] for place in group]
            for member in members:
                self.kind[member] = members[0]
                self.predictions[member] = self.predictions[members[0]]

    def plan(self, always=()):
        return plan_passes(self.weights, self.rows, lambda a, b: self.kind[a] == self.kind[b], always)

    def plain(self):
        """Equation 3 with every pass run, nothing merged: the reference."""
        out = []
        for (text, image, prompt_weights), rows in zip(self.pictures, self.rows, strict=True):
            *full, i, u = (self.predictions[row] for row in rows)
            out.append(u + image * (i - u) + text * sum(w * (f - i) for w, f in zip(prompt_weights, full, strict=True)))
        return torch.stack(out)


def test_equation_3_by_hand():
    # ê = 10 + 1.5·(20 − 10) + 7.5·(30 − 20) = 100
    plan = plan_passes([pass_weights(7.5, 1.5)], [range(3)])
    full, image, uncond = 30.0, 20.0, 10.0
    assert plan.combine(torch.tensor([[full], [image], [uncond]])).tolist() == [[100.0]]


def test_weights_by_hand():
    assert pass_weights(7.5, 1.5) == [7.5, -6.0, -0.5]
    assert pass_weights(4.0, 2.0, (0.5, 0.25)) == [2.0, 1.0, -1.0, -1.0]


@given(SCALES, SCALES, PROMPT_WEIGHTS)
def test_weights_add_up_to_one(text, image, prompt_weights):
    assert math.isclose(sum(pass_weights(text, image, prompt_weights)), 1, abs_tol=1e-9)


TABLE = [
    ("all three", 7.5, 1.5, False, ("full", "image", "uncond")),
    ("s_I = 0", 7.5, 0.0, False, ("full", "image", "uncond")),
    ("s_I = 1", 7.5, 1.0, False, ("full", "image")),
    ("s_T = s_I", 3.0, 3.0, False, ("full", "uncond")),
    ("s_T = 0", 0.0, 1.5, False, ("image", "uncond")),
    ("s_T = s_I = 1", 1.0, 1.0, False, ("full",)),
    ("s_T = 0, s_I = 1", 0.0, 1.0, False, ("image",)),
    ("s_T = s_I = 0", 0.0, 0.0, False, ("uncond",)),
    ("text equals negative", 7.5, 1.5, True, ("image", "uncond")),
    ("text equals negative, s_I = 1", 7.5, 1.0, True, ("image",)),
    ("text equals negative, s_I = 0", 7.5, 0.0, True, ("uncond",)),
    ("text equals negative, s_T = s_I", 3.0, 3.0, True, ("image", "uncond")),
    ("text equals negative, s_T = 0", 0.0, 1.5, True, ("image", "uncond")),
]


@pytest.mark.parametrize("text, image, equal, needed", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_pass_with_zero_weight_is_never_run(text, image, equal, needed):
    assert passes_needed(text, image, text_is_negative=equal) == needed


def test_every_picture_of_a_mixed_batch_runs_its_own_passes():
    pictures = [(text, image, [1.0]) for _, text, image, _, _ in TABLE]
    batch = Batch(pictures, {i: (0, 1) for i, row in enumerate(TABLE) if row[3]})
    plan = batch.plan()
    expected = []
    for rows, (*_, equal, needed) in zip(batch.rows, TABLE, strict=True):
        full, image, uncond = rows
        expected += [{"full": full, "image": image, "uncond": uncond}[name] for name in needed]
        assert not (equal and full in plan.rows)
    assert list(plan.rows) == sorted(expected)
    assert torch.allclose(plan.combine(batch.predictions[list(plan.rows)]), batch.plain(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "text, image, prompt_weights, equal, places",
    [
        (7.5, 1.5, [1.0, 0.5], (), [0, 1, 2, 3]),
        (7.5, 1.0, [1.0, 0.5], (), [0, 1, 2]),
        (2.0, 3.0, [1.0, 0.5], (), [0, 1, 3]),  # s_I = s_T·Σw
        (1.0, 0.3, [0.1, 0.2], (), [0, 1, 3]),  # … as floating point has it: 0.1 + 0.2 is not 0.3
        (0.0, 1.5, [1.0, 0.5], (), [2, 3]),
        (7.5, 1.5, [1.0, 0.0], (), [0, 2, 3]),
        (1.0, 1.0, [0.5, 0.5], (), [0, 1]),
        (7.5, 1.5, [1.0, 0.5], (1, 2), [0, 2, 3]),  # one sub-prompt is the negative prompt
        (7.5, 1.5, [1.0, 0.5], (0, 1), [1, 2, 3]),  # one sub-prompt twice
        (7.5, 1.5, [1.0, -1.0], (0, 1), [2, 3]),  # … which cancel
        (7.5, 1.5, [1.0, 0.5], (0, 1, 2), [2, 3]),
        (7.5, 1.5, [1.0, 0.5], (0, 1, 2, 3), [3]),
    ],
)
def test_sub_prompts_follow_the_same_rule(text, image, prompt_weights, equal, places):
    batch = Batch([(text, image, prompt_weights)], {0: equal} if equal else None)
    plan = batch.plan()
    assert list(plan.rows) == places
    assert torch.allclose(plan.combine(batch.predictions[list(plan.rows)]), batch.plain(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "text, image, equal, places",
    [
        (7.5, 1.5, (), [0, 1, 2]),
        (12.5, 12.5, (), [0, 2]),  # both scales are 1: `full` alone has weight
        (0.0, 12.5, (), [1, 2]),
        (7.5, 12.5, (0, 1), [1, 2]),
        (0.0, 0.0, (), [2]),
        (7.5, 1.5, (0, 1, 2), [2]),
    ],
)
def test_cfg_pp_always_runs_uncond(text, image, equal, places):
    batch = Batch([(text * (1 / 12.5), image * (1 / 12.5), [1.0])], {0: equal} if equal else None)
    plan = batch.plan(always=[2])
    assert list(plan.rows) == places
    assert plan.representative[2] == plan.rows.index(2), "the uncond that CFG++ renoises with is the uncond that was run"
    assert torch.allclose(plan.combine(batch.predictions[list(plan.rows)]), batch.plain(), atol=1e-5, rtol=0)


@st.composite
def batches(draw):
    pictures = draw(st.lists(st.tuples(SCALES, SCALES, PROMPT_WEIGHTS), min_size=1, max_size=3))
    groups = {}
    for i, (_, _, prompt_weights) in enumerate(pictures):
        groups[i] = draw(st.lists(st.integers(0, len(prompt_weights) + 1), unique=True, max_size=4))
    return Batch(pictures, {i: group for i, group in groups.items() if len(group) > 1}, draw(st.integers(0, 1000)))


@given(batches(), st.booleans())
def test_merged_and_dropped_equals_all_passes_run(batch, cfg_pp):
    plan = batch.plan(always=[rows[-1] for rows in batch.rows] if cfg_pp else ())
    assert (plan.combine(batch.predictions[list(plan.rows)]) - batch.plain()).abs().max() <= 1e-5


@given(batches())
def test_no_row_runs_twice_and_no_two_duplicates_run(batch):
    plan = batch.plan()
    kinds = [batch.kind[row] for row in plan.rows]
    assert len(set(plan.rows)) == len(plan.rows)
    assert len(set(kinds)) == len(kinds)


@given(batches())
def test_a_row_that_did_not_run_has_no_influence(batch):
    plan = batch.plan()
    expected = plan.combine(batch.predictions[list(plan.rows)])
    layout = torch.full_like(batch.predictions, torch.nan)
    for row in plan.rows:
        layout[row] = batch.predictions[row]
    assert torch.equal(plan.combine(layout[list(plan.rows)]), expected)


@given(batches())
def test_every_row_has_a_representative_of_its_own_picture(batch):
    plan = batch.plan()
    assert len(plan.representative) == len(batch.predictions)
    for rows in batch.rows:
        run = [row for row in plan.rows if row in rows]
        for row in rows:
            representative = plan.rows[plan.representative[row]]
            duplicates = [other for other in run if batch.kind[other] == batch.kind[row]]
            if duplicates:
                assert representative == duplicates[0]
            else:
                assert representative in run
                assert abs(representative - row) == min(abs(other - row) for other in run), "the nearest pass"


def test_a_pass_that_is_not_run_is_represented_by_the_nearest_one():
    assert plan_passes([pass_weights(0.0, 1.5)], [range(3)]).representative == (0, 0, 1)  # `full` by `image`, not by `uncond`
    assert plan_passes([pass_weights(7.5, 1.0)], [range(3)]).representative == (0, 1, 1)  # `uncond` by `image`, not by `full`


@given(batches(), st.floats(0.03, 14.6))
def test_epsilon_x0_and_v_paths_agree(batch, sigma):
    """Weights that add up to one commute with any map affine in ε."""
    plan = batch.plan()
    rows = list(plan.rows)
    owner = [i for row in rows for i, mine in enumerate(batch.rows) if row in mine]
    noised = torch.randn(len(batch.rows), 4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    alpha = 1 / math.sqrt(1 + sigma**2)

    def x0(eps, x):
        return x - sigma * eps

    def v(eps, x):
        return alpha * eps - sigma * alpha * x0(eps, x)

    eps = batch.predictions[rows]
    for convert in (x0, v):
        assert torch.allclose(convert(plan.combine(eps), noised), plan.combine(convert(eps, noised[owner])), atol=5e-5, rtol=0)


def test_a_guidance_acts_within_its_interval_and_is_one_outside():
    guidance = Guidance(7.5, 1.5, Interval(0.2, 0.6), Interval(0.4, 1.0))
    assert guidance.at(0.0) == (1.0, 1.0)
    assert guidance.at(0.2) == (7.5, 1.0)
    assert guidance.at(0.5) == (7.5, 1.5)
    assert guidance.at(0.6) == (7.5, 1.5)
    assert guidance.at(0.61) == (1.0, 1.5)
    assert guidance.at(1.0) == (1.0, 1.5)


def test_outside_both_intervals_only_the_full_pass_runs():
    guidance = Guidance(7.5, 1.5, Interval(0.5, 1.0), Interval(0.5, 1.0))
    assert passes_needed(*guidance.at(0.1)) == ("full",)
    assert passes_needed(*guidance.at(0.9)) == ("full", "image", "uncond")


def test_only_a_shortened_interval_is_a_schedule():
    assert not Guidance().scheduled
    assert Guidance(text_interval=Interval(0.0, 0.9)).scheduled
    assert Guidance(image_interval=Interval(0.1, 1.0)).scheduled


def test_progress_goes_from_noise_to_picture():
    assert progress_at(999) == 0.0
    assert progress_at(0) == 1.0
    assert progress_at(499.5) == pytest.approx(0.5)
    assert progress_at(49, timesteps=50) == 0.0


@given(st.floats(-5000, 5000), st.integers(2, 4000))
def test_progress_is_clamped(timestep, timesteps):
    assert 0.0 <= progress_at(timestep, timesteps) <= 1.0


@given(st.floats(-100, 1100))
def test_a_whole_interval_holds_every_timestep(timestep):
    assert progress_at(timestep) in Interval()


@pytest.mark.parametrize("start, end", [(0.6, 0.4), (-0.1, 1.0), (0.0, 1.1), (math.nan, 1.0), (0.0, math.nan)])
def test_an_interval_that_is_none_is_refused(start, end):
    with pytest.raises(ValueError, match=f"from {start} to {end}"):
        Interval(start, end)


@pytest.mark.parametrize("name", ["text_scale", "image_scale"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_scale_that_is_no_finite_number_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number"):
        Guidance(**{name: value})


HALF = torch.zeros(3, 3)
HALF[:, 1] = 0.25
HALF[:, 2] = 1


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64, torch.float16, torch.bfloat16))
@pytest.mark.parametrize("text, image", [row[1:3] for row in TABLE[:8]], ids=[row[0] for row in TABLE[:8]])
def test_a_scale_that_is_the_same_everywhere_is_that_scale_bit_for_bit(text, image, dtype):
    everywhere = Guidance(text, image, scope=Scope(torch.ones(3, 3)))
    numbers, maps = (plan_passes([pass_weights(*guidance.at(0.5))], [range(3)]) for guidance in (Guidance(text, image), everywhere))
    assert maps.rows == numbers.rows and maps.representative == numbers.representative
    predictions = Batch([(text, image, [1.0])]).predictions[list(numbers.rows)].to(dtype)
    assert torch.equal(maps.combine(predictions), numbers.combine(predictions)) and maps.combine(predictions).dtype == dtype


def test_at_every_place_the_scales_of_that_place_hold():
    guidance = Guidance(7.5, 1.5, scope=Scope(HALF, text_scale=1.0, raised=2.0))
    predictions = Batch([(7.5, 1.5, [1.0])]).predictions
    mapped = combine(list(predictions), pass_weights(*guidance.at(0)))
    for column, (text, image) in enumerate([(1.0, 3.0), (1 + 6.5 / 4, 3.0 - 1.5 / 4), (7.5, 1.5)]):
        alone = combine(list(predictions), pass_weights(text, image))
        assert torch.allclose(mapped[..., column], alone[..., column], atol=1e-12)


@pytest.mark.parametrize(
    "outside, text, image, needed",
    [
        ((1.0, 2.0), 7.5, 1.5, 3),
        ((1.0, 1.0), 7.5, 1.0, 2),  # s_I = 1 everywhere
        ((1.5, 1.0), 1.5, 1.5, 2),
        ((1.0, 1.0), 1.0, 1.0, 1),
        ((1.0, 2.0), 1.0, 1.0, 3),  # outside alone the others weigh
    ],
)
def test_a_pass_without_weight_anywhere_is_never_run(outside, text, image, needed):
    guidance = Guidance(text, image, scope=Scope(HALF, *outside))
    assert len(plan_passes([pass_weights(*guidance.at(0))], [range(3)]).rows) == needed


def test_outside_its_interval_a_scoped_scale_is_one_everywhere():
    guidance = Guidance(7.5, 1.5, Interval(0.5, 1.0), scope=Scope(HALF))
    text, image = guidance.at(0.2)
    assert text == 1.0 and image.tolist() == Scope(HALF).scoped(7.5, 1.5)[1].tolist()
