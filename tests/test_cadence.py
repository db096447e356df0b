"""Passes that run at some calls alone: which run when, and what stands in for those that don't."""

import pytest
import torch

from ip2p.guidance import FAST, Cadence, Guidance, Interval, Scope, pass_weights
from ip2p.passes import GuidedDenoiser, HeldPasses, Rows, Runner, plan_passes

SIGMAS = (14.6, 9.7, 6.4, 4.1, 2.7, 1.8, 1.2, 0.8, 0.5, 0.3)
PICTURE, TEXT, NEGATIVE = (
    torch.rand(shape, generator=torch.Generator().manual_seed(i)) for i, shape in enumerate(((4, 6, 5), (77, 3), (77, 3)))
)


def epsilon(latent, sigma, picture, text):
    """A network in which nothing is linear, so that held differences are never right by chance."""
    depth = (sigma**2 + 1)[:, None, None, None] ** -0.5
    return torch.sin(3 * latent * depth + 2 * picture * (1 + depth) + text.mean((1, 2))[:, None, None, None] * (2 - depth))


def linear(latent, sigma, picture, text):
    """A network whose passes are as far apart at every noise level."""
    return latent / (1 + sigma[:, None, None, None]) + 2 * picture + 3 * text.mean((1, 2))[:, None, None, None]


def latents(count=1):
    return [torch.randn(count, 4, 6, 5, generator=torch.Generator().manual_seed(i)) * sigma for i, sigma in enumerate(SIGMAS)]


class Predicting:
    """`network` in a parameterisation: what it gives of ε, back to ε, and by how much it changes with ε."""

    def __init__(self, kind: str):
        self.kind = kind

    def per_epsilon(self, sigma):
        return {"x0": -sigma, "epsilon": torch.ones_like(sigma), "v": (sigma**2 + 1) ** 0.5}[self.kind]

    def of(self, network):
        def predict(latent, sigma, picture, text):
            eps, s = network(latent, sigma, picture, text), sigma[:, None, None, None]
            # v = α·ε − σ'·x0 of the latent scaled by α, α² + σ'² = 1
            return {"x0": latent - s * eps, "epsilon": eps, "v": (eps - s * (latent - s * eps)) / (s**2 + 1) ** 0.5}[self.kind]

        return predict

    def back(self, prediction, latent, sigma):
        return {
            "x0": (latent - prediction) / sigma,
            "epsilon": prediction,
            "v": (prediction + sigma * latent / (1 + sigma**2) ** 0.5) / (1 + sigma**2) ** 0.5,
        }[self.kind]


def run(guidance, kind="x0", network=epsilon, negative=NEGATIVE):
    """Of every call ε̂, and how many rows it ran. guidance: of each picture."""
    predicting, count = Predicting(kind), len(guidance)
    model = GuidedDenoiser(
        predicting.of(network), PICTURE.expand(count, -1, -1, -1), [TEXT] * count, [negative] * count, guidance,
        progress=lambda sigma: SIGMAS.index(round(sigma, 4)) / (len(SIGMAS) - 1), per_epsilon=predicting.per_epsilon,
    )  # fmt: skip
    given = [predicting.back(model(x, torch.full((count,), s)), x, s) for s, x in zip(SIGMAS, latents(count))]
    return given, model.runner.rows


@pytest.mark.parametrize("calls, rows", ((20, 35), (10, 18)))
def test_twenty_calls_run_thirty_five_rows_and_ten_eighteen(calls, rows):
    layout, x = Layout(), latents()[0]
    assert sum(layout.call(14.6 / (call + 1), x, (TEXT,))[1] for call in range(calls)) == rows


@pytest.mark.parametrize("kind", ("x0", "epsilon", "v"))
def test_held_differences_are_those_of_a_reference_written_out(kind):
    given, _ = run([Guidance(7.5, 1.5, cadence=FAST)], kind)
    for call, (sigma, x) in enumerate(zip(SIGMAS, latents())):
        level, nothing = torch.tensor([sigma]), torch.zeros_like(PICTURE)
        full, image, uncond = (
            epsilon(x, level, picture[None], text[None]) for picture, text in ((PICTURE, TEXT), (PICTURE, NEGATIVE), (nothing, NEGATIVE))
        )
        if call % 2 == 0:
            of_text = full - image
        if call % 4 == 0:
            of_image = image - uncond
        expected = full + 6.5 * of_text + 0.5 * of_image
        assert torch.allclose(given[call], expected, atol=2e-4), (call, float((given[call] - expected).abs().max()))


@pytest.mark.parametrize("kind", ("x0", "epsilon", "v"))
def test_the_first_call_is_exact_and_later_ones_are_not(kind):
    (exact, _), (fast, _) = run([Guidance(7.5, 1.5)], kind), run([Guidance(7.5, 1.5, cadence=FAST)], kind)
    assert torch.equal(fast[0], exact[0])
    assert all(float((one - other).abs().max()) > 0.01 for one, other in zip(fast[1:4], exact[1:4]))


@pytest.mark.parametrize("kind", ("x0", "epsilon", "v"))
@pytest.mark.parametrize("guidance", ({}, dict(image_scale=1.0), dict(text_scale=1.5), dict(text_interval=Interval(0.2, 0.6))))
def test_where_the_differences_stay_the_same_fast_is_exact(kind, guidance):
    scales = {"text_scale": 7.5, "image_scale": 1.5, **guidance}
    (exact, every), (fast, rows) = (run([Guidance(**scales, cadence=cadence)], kind, linear) for cadence in (Cadence(), FAST))
    assert sum(rows) < sum(every)
    assert all(torch.allclose(one, other, atol=1e-3) for one, other in zip(fast, exact))


def test_a_cadence_of_one_and_one_is_exact_bit_for_bit_beside_any_other():
    mixed, rows = run([Guidance(7.5, 1.5, cadence=Cadence(1, 1)), Guidance(7.5, 1.5, cadence=FAST)])
    assert rows == [6, 4, 5, 4, 6, 4, 5, 4, 6, 4]
    both, _ = run([Guidance(7.5, 1.5), Guidance(7.5, 1.5)])
    assert all(torch.equal(one[0], other[0]) for one, other in zip(mixed, both))
    assert not any(torch.equal(one[1], other[1]) for one, other in zip(mixed[1:4], both[1:4]))


@pytest.mark.parametrize(
    "guidance, negative, rows",
    [
        (dict(image_scale=1.0), NEGATIVE, [2, 1, 2, 1, 2, 1, 2, 1, 2, 1]),
        (dict(text_scale=1.5), NEGATIVE, [2, 1, 2, 1, 2, 1, 2, 1, 2, 1]),  # full − uncond holds full − image, too
        (dict(text_scale=0.0), NEGATIVE, [2, 1, 1, 1, 2, 1, 1, 1, 2, 1]),
        (dict(text_scale=0.0, image_scale=1.0), NEGATIVE, [1] * 10),
        (dict(text_scale=1.0, image_scale=1.0), NEGATIVE, [1] * 10),
        ({}, TEXT, [2, 1, 1, 1, 2, 1, 1, 1, 2, 1]),
        (dict(image_interval=Interval(0.3, 1)), NEGATIVE, [2, 1, 2, 3, 1, 2, 1, 3, 1, 2]),  # it begins off the beat
        (dict(text_interval=Interval(0.3, 1)), NEGATIVE, [3, 1, 1, 2, 3, 1, 2, 1, 3, 1]),
        (dict(text_interval=Interval(0, 0.5)), NEGATIVE, [3, 1, 2, 1, 3, 1, 1, 1, 3, 1]),  # then `image` serves `uncond` alone
        (dict(image_interval=Interval(0, 0.5)), NEGATIVE, [3, 1, 2, 1, 3, 1, 2, 1, 2, 1]),
        (dict(scope=Scope(torch.linspace(0, 1, 5).expand(6, 5))), NEGATIVE, [3, 1, 2, 1, 3, 1, 2, 1, 3, 1]),
    ],
)
def test_no_row_runs_before_it_is_needed_or_without_weight(guidance, negative, rows):
    settings = {"text_scale": 7.5, "image_scale": 1.5, **guidance}
    assert run([Guidance(**settings, cadence=FAST)], negative=negative)[1] == rows
    exact = run([Guidance(**settings)], negative=negative)[1]
    assert all(fast <= every for fast, every in zip(rows, exact))


def test_pictures_of_a_batch_hold_their_own():
    guidance = [Guidance(7.5, 1.5, cadence=FAST), Guidance(3.0, 1.0, cadence=FAST), Guidance(7.5, 1.5, Interval(0.3, 1), cadence=FAST)]
    together, rows = run(guidance)
    assert rows == [sum(counts) for counts in zip(*(run([one])[1] for one in guidance))]
    noise = latents(3)
    for i, one in enumerate(guidance):
        model = GuidedDenoiser(
            Predicting("x0").of(epsilon), PICTURE[None], [TEXT], [NEGATIVE], [one],
            lambda sigma: SIGMAS.index(round(sigma, 4)) / 9, lambda sigma: -sigma,
        )  # fmt: skip
        for sigma, x, expected in zip(SIGMAS, noise, together):
            x0 = model(x[[i]], torch.tensor([sigma]))
            assert torch.allclose((x[i] - x0[0]) / sigma, expected[i], atol=1e-5)


class Layout:
    """One picture with sub-prompts of these texts and weights, call by call as the WebUI's denoiser lays it out."""

    def __init__(self, cadence=FAST, scales=(7.5, 1.5)):
        self.runner, self.scales, self.cadence = Runner(), scales, cadence
        self.held = HeldPasses(self.runner, lambda sigma: -sigma)

    def call(self, sigma, x, texts, weights=(1.0,), picture=PICTURE):
        """→ (ε̂, how many rows ran)"""
        n = len(texts) + 2
        pictures = torch.stack([*[picture] * (n - 1), torch.zeros_like(picture)])
        rows = Rows(x.expand(n, -1, -1, -1), torch.full((n,), sigma), pictures, [*texts, NEGATIVE, NEGATIVE], [range(n)])
        plan = plan_passes([pass_weights(*self.scales, weights)], rows.of_picture, rows.equal)
        x0 = plan.combine(self.held.run(Predicting("x0").of(epsilon), rows, plan, [self.cadence]))
        return (x - x0) / sigma, self.runner.rows[-1]


OTHER = TEXT.flip(0) * 0.5


def test_sub_prompts_run_at_every_call_and_are_held_by_their_weights():
    layout = Layout()
    rows = []
    for call, (sigma, x) in enumerate(zip(SIGMAS, latents())):
        given, ran = layout.call(sigma, x, (TEXT, OTHER), (0.75, 0.5))
        rows.append(ran)
        one, other, image, uncond = (
            epsilon(x, torch.tensor([sigma]), picture[None], text[None])
            for picture, text in ((PICTURE, TEXT), (PICTURE, OTHER), (PICTURE, NEGATIVE), (torch.zeros_like(PICTURE), NEGATIVE))
        )
        mean = 0.6 * one + 0.4 * other
        if call % 2 == 0:
            of_text = mean - image
        if call % 4 == 0:
            of_image = image - uncond
        # ê = u + s_I·(i − u) + s_T·Σ w_k·(f_k − i), the passes in it made of what ran
        i = image if call % 2 == 0 else mean - of_text
        u = uncond if call % 4 == 0 else i - of_image
        expected = u + 1.5 * (i - u) + 7.5 * (0.75 * (one - i) + 0.5 * (other - i))
        assert torch.allclose(given, expected, atol=2e-4)
    assert rows == [4, 2, 3, 2, 4, 2, 3, 2, 4, 2]


def test_what_a_changed_text_a_changed_picture_or_another_network_makes_untrue_is_seen_anew():
    def rows(change, calls=4):
        layout = Layout()
        return [layout.call(SIGMAS[call], latents()[call], **change(call, layout))[1] for call in range(calls)]

    assert rows(lambda call, layout: {"texts": (TEXT,)}) == [3, 1, 2, 1]
    assert rows(lambda call, layout: {"texts": (TEXT.clone(),)}) == [3, 1, 2, 1]  # an equal one is no other
    assert rows(lambda call, layout: {"texts": (TEXT if call < 1 else OTHER,)}) == [3, 2, 1, 2]
    assert rows(lambda call, layout: {"texts": (TEXT,), "picture": PICTURE if call < 1 else PICTURE + 1}) == [3, 3, 1, 2]
    assert rows(lambda call, layout: {"texts": (TEXT,)} if call != 1 else layout.held.forget() or {"texts": (TEXT,)}) == [3, 3, 1, 2]


def test_when_the_noise_level_rises_every_difference_is_seen_anew():
    layout = Layout()
    levels = (9.7, 6.4, 4.1, 6.4, 4.1, 2.7)
    assert [layout.call(sigma, x, (TEXT,))[1] for sigma, x in zip(levels, latents())] == [3, 1, 2, 3, 1, 2]


def test_when_memory_runs_out_the_rows_of_a_cadence_run_in_smaller_calls():
    layout, whole, sizes = Layout(), Layout(), []

    def short(self, network, rows, wanted, limit, plain=Runner._calls):
        sizes.append((limit, len(wanted)))
        if limit > 1:
            raise torch.cuda.OutOfMemoryError
        return plain(self, network, rows, wanted, limit)

    layout.runner._calls = short.__get__(layout.runner)
    for sigma, x in zip(SIGMAS, latents()):
        given, rows = layout.call(sigma, x, (TEXT,))
        expected, wanted = whole.call(sigma, x, (TEXT,))
        assert rows == wanted and torch.allclose(given, expected, atol=1e-5)
    assert sizes[:2] == [(3, 3), (1, 3)]


def test_a_cadence_needs_to_know_what_is_predicted_and_runs_at_least_at_every_call():
    with pytest.raises(ValueError, match="give `per_epsilon`"):
        GuidedDenoiser(epsilon, PICTURE[None], [TEXT], [NEGATIVE], [Guidance(cadence=FAST)])
    with pytest.raises(ValueError, match="not at every 0 and 4"):
        Cadence(0, 4)
