"""A student of three passes: what it starts as, what it is taught, and the stages that train it, killed and resumed."""

import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

from ip2p.scale_input import scale_features
from ip2p.training.config import Model, Stage, Unet
from ip2p.training.data import Samples
from ip2p.training.distillation import FLOOR, SCALES, StudentLoss, lessons, student_of
from ip2p.training.networks import Networks, new_unet
from ip2p.training.trajectories import alphas_and_sigmas

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2
USUAL = (2.5, 1.5)


class Kept:
    """Trajectories of random tensors."""

    count = 3

    def __init__(self, points: int):
        generator = torch.Generator().manual_seed(0)
        shapes = dict.fromkeys(("z", "full", "image", "uncond"), (points, 4, 4, 4)) | {"condition": (4, 4, 4), "last": (4, 4, 4), "text": (77, 32)}
        self.tensors = [{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in range(self.count)]
        for n, tensors in enumerate(self.tensors):
            tensors |= {"t": torch.tensor([999, 880, 754, 600, 509, 400, 264, 90]), "scales": torch.tensor([1.5 + n, 1.2])}

    def read(self, trajectory: int, what: str) -> torch.Tensor:
        return self.tensors[trajectory][what]


def place_of(sample: dict, kept: Kept) -> tuple[int, int]:
    """(trajectory, point) that a sample is of, by its z."""
    (found,) = [(n, p) for n in range(kept.count) for p in range(8) if torch.equal(kept.read(n, "z")[p], sample["z"])]
    return found


def test_the_guided_student_is_taught_equation_3_at_a_point_and_scales_of_its_own():
    kept, stage = Kept(8), Stage(kind="distill", between=2, text_scales=[1.0, 4.0], image_scales=[1.0, 2.2], at_one=0.2)
    samples = [Samples(lessons(kept, stage), stage, 0, 1)[n] for n in range(300)]
    for sample in samples:
        n, p = place_of(sample, kept)
        text, image = sample["scales"].tolist()
        full, only, blank = (kept.read(n, what)[p] for what in ("full", "image", "uncond"))
        torch.testing.assert_close(sample["wanted"], blank + image * (only - blank) + text * (full - only))
        torch.testing.assert_close(sample["moved"], (sample["wanted"] - full).square().mean(), rtol=1e-3, atol=1e-6)
        assert sample["t"] == sample["told"] == kept.read(n, "t")[p]
    scales = torch.stack([sample["scales"] for sample in samples])
    assert {place_of(sample, kept) for sample in samples} == {(n, p) for n in range(3) for p in range(8)}
    assert scales.min() == 1 and 3.8 < scales[:, 0].max() <= 4 and 2.1 < scales[:, 1].max() <= 2.2
    shares = (scales == 1).float().mean(0)
    assert ((shares - 0.2).abs() < 0.08).all(), shares


def test_the_endpoint_s_student_is_taught_where_the_trajectory_ends_most_often_at_the_sampling_times():
    kept, stage = Kept(8), Stage(kind="distill", student="endpoint", between=2, at_times=0.6)
    samples = [Samples(lessons(kept, stage), stage, 0, 1)[n] for n in range(300)]
    at_times = 0
    for sample in samples:
        n, p = place_of(sample, kept)
        assert torch.equal(sample["wanted"], kept.read(n, "last")) and torch.equal(sample["scales"], kept.read(n, "scales"))
        assert sample["t"] == kept.read(n, "t")[p]
        assert sample["told"] == {999: 999, 754: 759, 509: 519, 264: 259}.get(int(sample["t"]), sample["t"]), "as the LCM sampler tells it"
        at_times += p % 2 == 0
    assert at_times / 300 == pytest.approx(0.6 + 0.4 / 2, abs=0.08)


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    unet = new_unet(Model(unet=Unet([32, 32], 1, [0], 2)), 8)
    for parameter in unet.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # it begins with zeros, of which time and text change nothing
    return unet


@torch.no_grad()
def test_a_student_starts_as_the_full_pass_at_every_scale_and_leaves_the_teacher_alone(teacher):
    student = student_of(teacher)
    x, text = torch.randn(2, 8, 4, 4), torch.randn(2, 77, teacher.config.cross_attention_dim)
    scales = scale_features(torch.tensor([1.0, 7.5]), torch.tensor([1.5, 2.0]))
    expected = teacher(x, 500, encoder_hidden_states=text).sample
    assert torch.equal(student(x, 500, encoder_hidden_states=text, timestep_cond=scales).sample, expected)
    assert student_of(student) is student and not student.state_dict()[SCALES].any()
    for parameter in student.parameters():
        parameter.add_(1)
    assert torch.equal(teacher(x, 500, encoder_hidden_states=text).sample, expected)


@torch.no_grad()
def test_the_losses_are_those_of_the_formulas_and_the_usual_scales_need_no_input(teacher):
    student = Networks(unet=student_of(teacher), vae=torch.nn.Linear(1, 1), text_encoder=torch.nn.Linear(1, 1))
    torch.nn.init.normal_(student.unet.time_embedding.cond_proj.weight, std=0.05)
    generator = torch.Generator().manual_seed(1)
    z, condition, wanted = torch.randn(3, 3, 4, 4, 4, generator=generator)
    text = torch.randn(3, 77, student.unet.config.cross_attention_dim, generator=generator)
    t, moved = torch.tensor([999, 519, 20]), torch.tensor([FLOOR / 10, 0.1, 0.5])
    scales = torch.tensor([USUAL, (1.0, 1.0), (4.0, 2.0)])
    batch = {"z": z, "t": t, "told": t, "condition": condition, "text": text, "scales": scales, "wanted": wanted}
    inputs = scale_features(*scales.unbind(1)) - scale_features(torch.tensor([USUAL[0]]), torch.tensor([USUAL[1]]))
    rows = torch.cat([z, condition], 1)
    predicted = student.unet(rows, t, encoder_hidden_states=text, timestep_cond=inputs).sample
    plain = student.unet(rows, t, encoder_hidden_states=text).sample
    torch.testing.assert_close(predicted[0], plain[0])
    assert (predicted[1] - plain[1]).abs().max() > 1e-3

    guided = StudentLoss(student, Stage(kind="distill"), USUAL)
    errors = (predicted - wanted).square().mean((1, 2, 3))
    torch.testing.assert_close(guided(batch | {"moved": moved}), (errors / torch.tensor([FLOOR, 0.1, 0.5])).mean())

    endpoint = StudentLoss(student, Stage(kind="distill", student="endpoint"), USUAL)
    alpha, sigma = alphas_and_sigmas(t)
    x0 = (z - sigma * predicted) / alpha
    torch.testing.assert_close(endpoint(batch), (x0 - wanted).square().mean((1, 2, 3)).mean(), rtol=1e-4, atol=1e-4)
