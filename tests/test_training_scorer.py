"""The stage that trains a CLIP, which is then named as a scorer."""

import math

import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

from ip2p.dataset.scenes import Scenes
from ip2p.errors import EditError
from ip2p.scorers.by_name import scorer_named
from ip2p.scorers.clip_scorer import MEAN, STD
from ip2p.scorers.vectors import normalised
from ip2p.training.config import Clip, Model, Text, Vae, load
from ip2p.training.losses import ClipLoss
from ip2p.training.networks import Networks, new_clip, new_tokenizer, new_vae, token_ids
from training_runs import STAGES, ended, losses, write_config

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2

SHAPE = {
    "text": {"width": 32, "layers": 1, "heads": 2, "vocabulary": 560},
    "clip": {"width": 32, "layers": 1, "heads": 2, "patch": 8, "projection": 16},
}
PAIRS = [Scenes(6, 1)[i] for i in range(6)]
CAPTIONS = [pair.original_prompt for pair in PAIRS]


def config(tmp_path, **stage):
    clip = {"kind": "clip", "steps": 30, "batch_size": 8, "size": 32, "learning_rate": 2e-3, "ema": 0.5}
    return write_config(
        tmp_path / "clip.yaml", output=str(tmp_path / "run"), model=SHAPE, export="none", data={"scenes": 40}, validation={"every": 0},
        stages=dict.fromkeys(STAGES) | {"clip": clip | stage},
    )  # fmt: skip


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    model = Model(text=Text(**SHAPE["text"]), clip=Clip(**SHAPE["clip"]))
    tokenizer = new_tokenizer(CAPTIONS, 560)
    return Networks(tokenizer=tokenizer, clip=new_clip(model, tokenizer, 64))


def batch_of(networks, captions):
    """The first pictures, as a sample has them, with these captions."""
    pixels = normalised([pair.original_image for pair in PAIRS[: len(captions)]], (0.5,) * 3, (0.5,) * 3)
    return {"pixels": pixels, "tokens": torch.stack([token_ids(networks.tokenizer, caption) for caption in captions])}


def test_the_loss_is_clip_s_own_where_all_captions_differ(networks):
    batch = batch_of(networks, CAPTIONS)
    pixels = normalised([pair.original_image for pair in PAIRS], MEAN, STD)
    own = networks.clip(input_ids=batch["tokens"], pixel_values=pixels, return_loss=True).loss
    torch.testing.assert_close(ClipLoss(networks)(batch), own, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_pictures_of_one_caption_are_not_told_apart(networks):
    def loss(captions, **others):
        return float(ClipLoss(networks)(batch_of(networks, captions) | others))

    turned = batch_of(networks, CAPTIONS[:2])["pixels"].flip(0)
    same = [CAPTIONS[0]] * 2
    assert loss(same) == pytest.approx(loss(same, pixels=turned), abs=1e-5)
    assert loss(CAPTIONS[:2]) != pytest.approx(loss(CAPTIONS[:2], pixels=turned), abs=1e-3)
    assert loss(same) > math.log(2) - 1e-6, "no better than even"


def test_a_clip_is_trained_and_named_as_a_scorer(tmp_path):
    ended(config(tmp_path), said=tmp_path / "said")
    read = losses(tmp_path / "run", "clip")
    assert sum(read[-5:]) < sum(read[:5])
    scorer = scorer_named(f"clip={tmp_path / 'run/clip/model/clip'}", torch.device("cpu"))
    pictures, in_text_space = scorer.pictures([pair.original_image for pair in PAIRS])
    assert pictures.shape == in_text_space.shape == scorer.texts(CAPTIONS).shape == (6, 16)
    trained = Networks.read(tmp_path / "run/clip/model")
    assert trained.clip.config.vision_config.image_size == 32 and trained.unet is None


def test_a_size_that_is_not_whole_patches_is_refused(tmp_path):
    with pytest.raises(EditError, match=r"stages.clip.size is 40: it must be a multiple of model.clip.patch, 16"):
        load(config(tmp_path, size=40), ["model.clip.patch=16"])


@torch.no_grad()
def test_a_text_encoder_starts_as_a_clip_s_own(networks, tmp_path, monkeypatch):
    networks.save(tmp_path / "model")
    monkeypatch.setenv("HOME", str(tmp_path))
    text = Text(**SHAPE["text"], start="~/model/clip")
    taken = Networks().with_text_of(text)
    tokens = torch.stack([token_ids(networks.tokenizer, caption) for caption in CAPTIONS])
    assert torch.equal(tokens, torch.stack([token_ids(taken.tokenizer, caption) for caption in CAPTIONS]))
    own = networks.clip.text_model(input_ids=tokens).last_hidden_state
    assert torch.equal(taken.text_encoder(input_ids=tokens).last_hidden_state, own)
    with pytest.raises(EditError, match=r"is 32 wide: set model.text.width=32"):
        Networks().with_text_of(Text(width=64, start=text.start))


@torch.no_grad()
def test_an_autoencoder_starts_as_a_trained_one(tmp_path, monkeypatch):
    shape = {"channels": [8, 8, 8, 8], "groups": 4, "layers": 1}
    own = new_vae(Model(vae=Vae(**shape)))
    own.register_to_config(scaling_factor=0.5)
    Networks(vae=own).save(tmp_path / "model")
    monkeypatch.setenv("HOME", str(tmp_path))
    taken = Networks().with_vae_of(Vae(**shape, start="~/model/vae")).vae
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.equal(taken.encode(pixels).latent_dist.mean, own.encode(pixels).latent_dist.mean)
    assert taken.config.scaling_factor == 0.5
    with pytest.raises(EditError, match=r"has other channels: set model.vae.channels=\[8, 8, 8, 8\]"):
        Networks().with_vae_of(Vae(start="~/model/vae"))


def test_a_model_that_is_trained_on_an_autoencoder_of_another_run_keeps_it(tmp_path):
    shape = {"channels": [8, 8, 8, 8], "groups": 4, "layers": 1}
    own = new_vae(Model(vae=Vae(**shape)))
    own.register_to_config(scaling_factor=0.5)
    Networks(vae=own).save(tmp_path / "first")
    shapes = SHAPE | {
        "vae": shape | {"start": str(tmp_path / "first/vae")},
        "unet": {"channels": [16], "layers": 1, "attention": [0], "heads": 1, "groups": 4},
    }
    painter = {"kind": "text_to_image", "steps": 2, "batch_size": 2, "size": 32, "train_text": True}
    run = write_config(
        tmp_path / "painter.yaml", output=str(tmp_path / "run"), model=shapes, export="none", data={"scenes": 4}, validation={"every": 0},
        stages=dict.fromkeys(STAGES) | {"text_to_image": painter},
    )  # fmt: skip
    ended(run, said=tmp_path / "said")
    kept = Networks.read(tmp_path / "run/text_to_image/model").vae
    assert kept.config.scaling_factor == 0.5
    for name, weight in own.state_dict().items():
        assert torch.equal(weight, kept.state_dict()[name]), name


@pytest.mark.parametrize("part, kind", [("text", "a CLIP. A clip"), ("vae", "an autoencoder. An autoencoder")])
def test_a_start_that_is_not_there_is_refused_before_the_first_step(tmp_path, part, kind):
    with pytest.raises(EditError, match=f"nowhere is no folder of {kind} stage writes one"):
        load(config(tmp_path), [f"model.{part}.start=nowhere"])
    with pytest.raises(EditError, match="leave one of them out"):
        load(config(tmp_path), [f"model.{part}.start=nowhere", "model.start=small"])
