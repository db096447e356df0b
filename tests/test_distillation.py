"""A student of three passes: what it starts as, what it is taught, and the stages that train it, killed and resumed."""

import json
import os
import random
import time
from functools import partial
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

from convert_cases import same_bits
from ip2p import states
from ip2p.checkpoints.defaults import defaults_for
from ip2p.editor.lcm import LatentConsistencyScheduler
from ip2p.editor.samplers import set_sgm_uniform
from ip2p.errors import EditError
from ip2p.scale_input import KEY, scale_features
from ip2p.training.config import Model, Stage, Text, Unet, Vae, load
from ip2p.training.data import Samples
from ip2p.training.distillation import FLOOR, SCALES, StudentLoss, lessons, student_of
from ip2p.training.losses import SCHEDULE
from ip2p.training.networks import Networks, new_text_encoder, new_tokenizer, new_unet, new_vae
from ip2p.training.trajectories import alphas_and_sigmas, told_times
from training_runs import STAGES, Command, ended, losses, tensors, write_config

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2
USUAL = (2.5, 1.5)
KILLS = int(os.environ.get("IP2P_KILLS", "2"))
SEED = int(os.environ.get("IP2P_SEED", random.randrange(2**32)))
SHAPES = Model(unet=Unet([64, 64], 1, [0], 2), vae=Vae([32] * 4, 1, 8), text=Text(32, 1, 2, 560))
STUDENTS = ("guided", "endpoint")
STEPS = 6


class Kept:
    """Trajectories of random tensors."""

    count = 3

    def __init__(self, points: int):
        generator = torch.Generator().manual_seed(0)
        shapes = dict.fromkeys(("z", "full", "image", "uncond"), (points, 4, 4, 4)) | {
            "condition": (4, 4, 4),
            "last": (4, 4, 4),
            "text": (77, 32),
        }
        self.tensors = [{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in range(self.count)]
        for n, one in enumerate(self.tensors):
            one |= {"t": torch.tensor([999, 880, 754, 600, 509, 400, 264, 90]), "scales": torch.tensor([1.5 + n, 1.2])}

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
    kept, stage = Kept(8), Stage(kind="distill", student="endpoint", between=2, at_times=0.6, own_steps=0.4)
    samples = [Samples(lessons(kept, stage), stage, 0, 1)[n] for n in range(300)]
    at_times, levels, own = 0, set(), {p: [] for p in range(8)}
    for sample in samples:
        n, p = place_of(sample, kept)
        assert torch.equal(sample["wanted"], kept.read(n, "last")) and torch.equal(sample["scales"], kept.read(n, "scales"))
        assert sample["t"] == kept.read(n, "t")[p]
        assert int(sample["told"]) in {999: [999], 754: [759], 509: [499, 519], 264: [259]}.get(int(sample["t"]), [sample["t"]])
        levels.add(tuple(sample["levels"].tolist()))
        at_times += p % 2 == 0
        assert torch.equal(sample["noise"], kept.read(n, "z")[0]) and sample["fresh"].shape == (3, 4, 4, 4)
        own[p].append(int(sample["own"]))
    assert levels == {(999, 759, 499, 259), (999, 759, 519, 259)}, "as the LCM sampler tells it"
    assert at_times / 300 == pytest.approx(0.6 + 0.4 / 2, abs=0.08)
    assert all(set(own[p]) == {0} for p in (0, 1, 3, 5, 7)) and all(set(own[p]) == {0, p // 2} for p in (2, 4, 6))
    assert sum(map(bool, own[2] + own[4] + own[6])) / len(own[2] + own[4] + own[6]) == pytest.approx(0.4, abs=0.12)


def new_teacher() -> torch.nn.Module:
    torch.manual_seed(0)
    unet = new_unet(SHAPES, 8)
    for parameter in unet.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # it begins with zeros, of which time and text change nothing
    return unet


@pytest.fixture
def teacher():
    return new_teacher()


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
    batch |= {"own": torch.zeros(3, dtype=torch.long)}
    torch.testing.assert_close(endpoint(batch), (x0 - wanted).square().mean((1, 2, 3)).mean(), rtol=1e-4, atol=1e-4)


def test_of_its_own_steps_the_endpoint_s_student_is_where_the_editor_s_lcm_sampler_would_be(teacher):
    student = Networks(unet=student_of(teacher), vae=torch.nn.Linear(1, 1), text_encoder=torch.nn.Linear(1, 1))
    torch.nn.init.normal_(student.unet.time_embedding.cond_proj.weight, std=0.05)
    loss = StudentLoss(student, Stage(kind="distill", student="endpoint"), USUAL)
    generator = torch.Generator().manual_seed(1)
    z, condition, wanted, noise = torch.randn(4, 4, 4, 4, 4, generator=generator)
    fresh = torch.randn(4, 3, 4, 4, 4, generator=generator)
    text = torch.randn(4, 77, student.unet.config.cross_attention_dim, generator=generator)
    scheduler = LatentConsistencyScheduler(**SCHEDULE)
    set_sgm_uniform(scheduler, 4, torch.device("cpu"))
    own, t = torch.tensor([2, 0, 3, 1]), torch.tensor([509, 20, 264, 754])
    scales = torch.tensor([(3.0, 1.0), (1.0, 1.0), (4.0, 2.0), (2.0, 1.2)])
    batch = {"z": z, "t": t, "told": torch.tensor([519, 20, 259, 759]), "levels": scheduler.timesteps.expand(4, -1), "condition": condition}
    batch |= {"text": text, "scales": scales, "wanted": wanted, "own": own, "noise": noise, "fresh": fresh}

    inputs = scale_features(*scales.unbind(1)) - scale_features(torch.tensor([USUAL[0]]), torch.tensor([USUAL[1]]))
    assert all(time in levels for time, levels in zip(scheduler.timesteps.tolist(), told_times(4), strict=True))
    for n, steps in enumerate(own):
        expected, one = z[n : n + 1], slice(n, n + 1)
        if steps:
            sample = noise[one] * scheduler.sigmas[0]
            for step in range(steps):
                sigma, following = scheduler.sigmas[step], scheduler.sigmas[step + 1]
                x = sample / (sigma**2 + 1).sqrt()
                with torch.no_grad():
                    predicted = student.unet(
                        torch.cat([x, condition[one]], 1),
                        scheduler.timesteps[step],
                        encoder_hidden_states=text[one],
                        timestep_cond=inputs[one],
                    ).sample
                sample = sample - sigma * predicted + following * fresh[one, step]
            expected = sample / (scheduler.sigmas[steps] ** 2 + 1).sqrt()
        given = {key: value[one] for key, value in batch.items()}
        alpha, sigma = alphas_and_sigmas(t[one])
        told = batch["told"][one]
        predicted = student.unet(
            torch.cat([expected, condition[one]], 1), told, encoder_hidden_states=text[one], timestep_cond=inputs[one]
        ).sample
        error = ((expected - sigma * predicted) / alpha - wanted[one]).square().mean()
        torch.testing.assert_close(loss(given), error, rtol=5e-3, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = loss(batch)
    made.backward()
    assert all(parameter.grad is not None for parameter in student.unet.parameters())


# Whole runs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a small random edit model."""
    folder = tmp_path_factory.mktemp("model") / "model"
    tokenizer = new_tokenizer(["make the circle red", "make the background blue"], 560)
    unet = new_teacher()
    Networks(new_vae(SHAPES), tokenizer, new_text_encoder(SHAPES, tokenizer), unet).save(folder)
    return folder


def config_of(model: Path, folder: Path, **changes) -> Path:
    shared = dict(
        kind="distill", trajectories=1, times=2, between=2, steps=STEPS, batch_size=4, size=32, learning_rate=1e-3, ema=0.9,
        text_scales=[1.0, 4.0], image_scales=[1.0, 2.2],
    )  # fmt: skip
    stages = {**dict.fromkeys(STAGES), **{name: {**shared, "student": name} for name in STUDENTS}}
    defaults = {"text_scale": USUAL[0], "image_scale": USUAL[1], "steps": 2, "sampler": "LCM", "scheduler": "SGM Uniform"}
    settings = {
        "model": {"start": str(model)},
        "stages": stages,
        "defaults": defaults,
        "save_every": 2,
        "validation": {"every": 3, "rows": 1},
    }
    return write_config(folder / "students.yaml", **settings, **changes)


@pytest.fixture(scope="module")
def taught(model, tmp_path_factory):
    """The folder of a finished run of both students, nobody having stopped it."""
    folder = tmp_path_factory.mktemp("taught")
    ended(config_of(model, folder), f"output={folder}/run", said=folder / "said")
    return folder / "run"


def test_both_students_learn_from_one_cache_and_the_second_goes_on_from_the_first(model, taught):
    assert len([*(taught / "cache").iterdir()]) == 1
    begun, guided, endpoint = Networks.start(str(model)).unet, *(Networks.read(taught / name / "model").unet for name in STUDENTS)
    apart = [
        max(float((one.state_dict()[name] - value).abs().max()) for name, value in other.state_dict().items())
        for one, other in ((guided, begun), (endpoint, guided))
    ]
    assert all(0 < x < 0.02 for x in apart), "a few steps of 0.001 each"
    assert guided.state_dict()[SCALES].any() and all(len(losses(taught, name)) == STEPS for name in STUDENTS)
    assert {path.name for path in (taught / "endpoint" / "validation").iterdir()} == {"00000003.png", "00000006.png"}


def test_what_is_exported_is_a_student_of_one_pass_with_its_settings(taught):
    file = tensors(taught)["run.safetensors"]
    last = Networks.read(taught / "endpoint" / "model").unet.state_dict()
    assert torch.equal(file[KEY], last[SCALES])
    assert torch.equal(file["model.diffusion_model.time_embed.0.bias"], last["time_embedding.linear_1.bias"])
    suited = defaults_for(str(taught / "run.safetensors"))
    found = suited.passes, suited.text_scale, suited.image_scale, suited.steps, suited.sampler_name, suited.scheduler
    assert found == (1, *USUAL, 2, "LCM", "SGM Uniform")
    in_folder = defaults_for(str(taught / "guided" / "model"))
    assert (in_folder.passes, in_folder.text_scale, in_folder.image_scale) == (1, *USUAL)


def step_of(run: Path, stage: str) -> int:
    path = run / stage / "log.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


MOMENTS = {
    "the trajectories' cache": lambda run: any(run.glob("cache/trajectories-*")),
    "guided: a step": lambda run: step_of(run, "guided") >= 1,
    "guided: its end": lambda run: (run / f"guided/state-{STEPS:08d}").is_dir(),
    "endpoint: a step after a state": lambda run: step_of(run, "endpoint") >= 3,
    "export": lambda run: (run / "endpoint/model").is_dir(),
}


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(model, taught, tmp_path):
    rng, run = random.Random(SEED), tmp_path / "run"
    argv = config_of(model, tmp_path), f"output={run}"
    for moment in sorted(rng.sample(list(MOMENTS), min(KILLS, len(MOMENTS))), key=list(MOMENTS).index):
        command, reached = Command(*argv, said=tmp_path / "said"), MOMENTS[moment]
        assert command.wait_until(partial(reached, run)), (moment, command.out, command.errors)
        time.sleep(rng.uniform(0, 0.05))
        command.kill()
    ended(*argv, said=tmp_path / "said")
    one, other = tensors(taught), tensors(run)
    assert one.keys() == other.keys(), f"IP2P_SEED={SEED}"
    assert [name for name in one if not same_bits(one[name], other[name])] == [], f"IP2P_SEED={SEED}"
    for name in STUDENTS:
        found = [
            [json.loads(line) | {"seconds": 0} for line in (folder / name / "log.jsonl").read_text().splitlines()]
            for folder in (taught, run)
        ]
        assert found[0] == found[1], f"IP2P_SEED={SEED}"
        assert states.states(run / name)
    assert not list(run.rglob("*.part"))


@pytest.mark.parametrize(
    "change, sentence",
    (
        ({"model": {"start": ""}, "stages": {"autoencoder": {"steps": 1}}}, "has no edit model to learn from"),
        ({"stages": {"again": {"kind": "edit"}}}, "would train a student of one pass as if it had three"),
        ({"stages": {"guided": {"text_scales": [4.0, 1.0]}}}, "stages.guided.text_scales is .*: give two scales from 0 to 100"),
        ({"stages": {"guided": {"times": 8, "between": 8}}}, "has 8 × 8 points a trajectory: times · between is at most 50"),
        ({"stages": {"guided": {"student": "both"}}}, "stages.guided.student is “both”: choose guided or endpoint"),
    ),
)
def test_a_run_that_could_not_distil_is_refused_before_it_starts(model, change, sentence, tmp_path):
    from omegaconf import OmegaConf

    path = config_of(model, tmp_path, output=str(tmp_path / "run"))
    OmegaConf.save(OmegaConf.merge(OmegaConf.load(path), change), path)
    with pytest.raises(EditError, match=sentence):
        load(path)
