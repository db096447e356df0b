"""A teacher's trajectories: their times, their sampler against k-diffusion's formula, and what is kept of each point."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

from accelerate import Accelerator

from ip2p.training.config import Stage, load
from ip2p.training.networks import widened
from ip2p.training.rows import Rows
from ip2p.training.trajectories import TOGETHER, alphas_and_sigmas, points_of, sampled, sampling_times, told_times, trajectories
from training_runs import write_config

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


def test_the_sampling_times_are_those_of_sgm_uniform_over_the_lcm_sampler_s_levels():
    assert sampling_times(4) == [999, 754, 509, 264]
    assert sampling_times(1) == [999] and sampling_times(2) == [999, 509]
    assert told_times(4) == [(999,), (759,), (499, 519), (259,)] and told_times(5) == [(999,), (799,), (599,), (419,), (219,)]


def test_every_trajectory_passes_the_sampling_times_and_all_together_every_time():
    seen = set()
    for n in range(2000):
        points = points_of(Stage(times=4, between=3), np.random.default_rng(n))
        assert points == sorted(set(points), reverse=True) and points[::3] == [999, 754, 509, 264] and len(points) == 12
        seen |= set(points)
    assert seen == set(range(1000))


def test_the_sampler_is_dpm_solver_2m_as_k_diffusion_writes_it():
    """In x = z/α with σ/α, in float64, a picture at a time; the network is any function of both."""

    def predict(z, t):
        return torch.tanh(0.3 * z + t[:, None, None, None] / 1000)

    noise, times = (
        torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)),
        torch.tensor([[999, 700, 400, 90], [999, 640, 300, 10]]),
    )
    found = sampled(noise, times, predict)
    for i in range(2):
        alpha, sigma = (x.flatten().double() for x in alphas_and_sigmas(times[i]))
        levels = [*(sigma / alpha).tolist(), 0.0]
        x, old = noise[i : i + 1].double() / alpha[0], None
        for n in range(4):
            z = x / math.sqrt(1 + levels[n] ** 2)
            denoised = x - levels[n] * predict(z, times[i : i + 1, n])
            if levels[n + 1] == 0:
                x = denoised
                break
            h = math.log(levels[n] / levels[n + 1])
            if old is None:
                slope = denoised
            else:
                r = math.log(levels[n - 1] / levels[n]) / h
                assert 1 / (2 * r) < 1, "or it is held"
                slope = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * old
            x = levels[n + 1] / levels[n] * x - math.expm1(-h) * slope
            old = denoised
        torch.testing.assert_close(found[i : i + 1].double(), x, rtol=1e-4, atol=1e-4)


@pytest.fixture
def taught(networks, tmp_path):
    """make(stage) → the trajectories of the test networks, in `tmp_path`."""
    config = load(write_config(tmp_path / "samples.yaml", output=str(tmp_path), data={"scenes": 5}))
    teacher = networks.with_(unet=widened(networks.unet))
    return lambda **settings: trajectories(
        tmp_path, 0, Stage(kind="distill", size=32, between=2, **settings), teacher, Rows(config, print), Accelerator(cpu=True)
    ), teacher


@torch.no_grad()
def test_what_is_kept_is_what_the_three_passes_predict_and_the_end_follows_from_it(taught):
    make, teacher = taught
    kept = make(trajectories=3)
    for n in (0, TOGETHER, kept.count - 1):
        z, t, condition, text, scales, last = (kept.read(n, what).float() for what in ("z", "t", "condition", "text", "scales", "last"))
        assert t.tolist()[::2] == [999, 754, 509, 264] and len(z) == 8
        blank = teacher.text_encoder(input_ids=torch.tensor([[*teacher.tokenizer("", padding="max_length", max_length=77).input_ids]]))
        text_scale, image_scale = scales.tolist()
        assert 1 <= text_scale <= 4 and 1 <= image_scale <= 2.2
        for point in (0, 5, 7):
            found = {what: kept.read(n, what)[point].float() for what in ("full", "image", "uncond")}
            for what, picture, words in (
                ("full", condition, text[None]),
                ("image", condition, blank.last_hidden_state),
                ("uncond", 0 * condition, blank.last_hidden_state),
            ):
                row = torch.cat([z[point], picture])[None]
                expected = teacher.unet(row, t[point], encoder_hidden_states=words).sample[0]
                torch.testing.assert_close(found[what], expected, rtol=0.01, atol=0.01)
        guided = (
            found["full"] + (text_scale - 1) * (found["full"] - found["image"]) + (image_scale - 1) * (found["image"] - found["uncond"])
        )
        alpha, sigma = alphas_and_sigmas(t[-1:].long())
        torch.testing.assert_close(last, ((z[-1] - sigma * guided) / alpha)[0], rtol=0.01, atol=0.03)
    scales = torch.stack([kept.read(n, "scales") for n in range(kept.count)])
    assert len(scales.unique(dim=0)) == kept.count, "each has its own"


def test_more_trajectories_keep_those_that_are_there(taught, tmp_path):
    make, _ = taught
    first = make(trajectories=1)
    (folder,) = (tmp_path / "cache").glob("trajectories-*")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    more = make(trajectories=first.count + 1)
    assert more.count == 2 * first.count and {path: path.stat().st_mtime_ns for path in before} == before
    make(trajectories=1, text_scales=[1.0, 5.0])
    assert len([*(tmp_path / "cache").glob("trajectories-*")]) == 2, "what they depend on is in the folder's name"
