"""What a person sees of a training, what it leaves, and how a finished model is measured on scenes."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

from omegaconf import OmegaConf
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from convert_cases import same_bits
from ip2p import states
from ip2p.checkpoints.clip import TOKENIZER
from ip2p.dataset.scenes import Scenes, scene
from ip2p.edit import Edit
from ip2p.editor import Editor
from ip2p.training.config import load
from ip2p.training.export import plain
from ip2p.training.networks import Networks
from training_runs import STAGES, STEPS, losses

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


def test_the_bar_tells_progress_loss_and_throughput_and_libraries_keep_quiet(trained):
    shown = (trained.parent / "said.err").read_text().replace("\r", "\n")
    assert re.search(r"100%.*8/8 \[00:\d\d<00:00, .*step/s, edit: loss \d\.\d{4}, \d+\.\d samples/s\]", shown)
    others = [line for line in shown.splitlines() if line.strip() and not re.search(r"(step|picture pair|text)(/s)?[\],]", line)]
    assert others == []
    said = (trained.parent / "said.out").read_text().splitlines()
    assert [line.partition(" ")[0] for line in said] == ["Step", "Step", "Exported", "Exported", "Exported", "Exported"]


def test_tensorboard_has_the_curves(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for stage in STAGES:
        events = EventAccumulator(str(trained / stage / "tensorboard")).Reload()
        assert set(events.Tags()["scalars"]) == {"loss", "learning_rate", "samples_per_second"}
        found = [(event.step, event.value) for event in events.Scalars("loss")]
        assert found == [(i + 1, pytest.approx(loss)) for i, loss in enumerate(losses(trained, stage))]


def test_validation_pictures_are_grids_of_the_same_pictures(trained):
    files = sorted((trained / "edit" / "validation").iterdir())
    assert [path.name for path in files] == ["00000004.png", "00000008.png"]
    one, other = (np.asarray(Image.open(path)) for path in files)
    assert one.shape == other.shape and one.shape[0] > 2 * 64 and one.shape[1] > 3 * 64 and (one != other).any()


def test_a_recipe_is_kept_beside_the_run(trained):
    config = load(trained / "config.yaml")
    assert config.output == str(trained) and config.stages["edit"].steps == STEPS and config.stages["edit"].drop_both == 0.05


# What it leaves


def test_the_export_is_one_file_with_its_recipe_that_the_editor_reads_as_the_folder(trained):
    picture, instruction = scene(3).pair().original_image, "make the circle red"
    edit = Edit(image=picture, instruction=instruction, steps=3, seed=1, longest_side=64, sampler_name="Euler")
    of_folder, of_file, of_plain = (
        np.asarray(Editor.load(place, "cpu").edit(edit)[0].image, dtype=int)
        for place in (trained / "edit/model", trained / "run.safetensors", trained / "run-plain.safetensors")
    )
    assert abs(of_folder - of_file).max() <= 1 and abs(of_folder - of_plain).max() > 0
    with safe_open(trained / "run.safetensors", "pt") as file:
        about = file.metadata()
    assert about["modelspec.architecture"] == "stable-diffusion-v1/instruct-pix2pix" and about["ip2p.weights"] == "ema"
    recipe = OmegaConf.create(about["ip2p.recipe"])
    assert recipe.stages.edit.steps == STEPS and recipe.data.pairs == "scenes"
    assert recipe.output == trained.name and str(trained) not in about["ip2p.recipe"]


def test_plain_weights_are_those_that_were_trained_and_the_others_their_average(trained, networks):
    prefix = "model.diffusion_model."
    ema, plain = load_file(trained / "run.safetensors"), load_file(trained / "run-plain.safetensors")
    kept = states.read(trained / "edit" / f"state-{STEPS:08d}").tensors
    own = networks.unet.state_dict()
    assert torch.equal(ema[prefix + "out.2.weight"], own["conv_out.weight"]) and torch.equal(
        ema[prefix + "out.2.weight"], kept["ema"]["unet.conv_out.weight"]
    )
    assert torch.equal(plain[prefix + "out.2.weight"], kept["weights"]["unet.conv_out.weight"])
    assert {name: bool(torch.equal(ema[name], plain[name])) for name in ema if not name.startswith(prefix)} == {
        name: True for name in ema if not name.startswith(prefix)
    }


def test_plain_weights_of_any_last_stage_are_exported(trained, tmp_path):
    """Of a decoder trained alone, and of a stage of texts, whose reading is no part of the model."""
    shutil.copytree(trained / "edit" / "model", tmp_path / "stage" / "model")
    bias = torch.full_like(Networks.read(tmp_path / "stage" / "model").vae.decoder.conv_in.bias, 3)
    weights = {"vae.decoder.conv_in.bias": bias, "reading.weight": torch.zeros(2, 32)}
    states.write(tmp_path / "stage", states.State(1, {"weights": weights}, {}), keep=1)
    found = Networks.read(plain(tmp_path / "stage" / "model", tmp_path / "plain"))
    assert torch.equal(found.vae.decoder.conv_in.bias, bias)
    assert same_bits(found.unet.state_dict(), Networks.read(trained / "edit" / "model").unet.state_dict())


def test_the_folder_names_no_place_of_this_machine(trained):
    for path in (trained / "edit" / "model").rglob("*.json"):
        assert str(trained.parent) not in path.read_text(), path


def test_the_vocabulary_lies_there_in_the_files_every_transformers_reads(trained, networks):
    folder = trained / "run.clip"
    words = json.loads((folder / "vocab.json").read_text(encoding="utf8"))
    assert words == networks.tokenizer.get_vocab() and list(words.values()) == sorted(words.values())
    assert (folder / "merges.txt").read_text(encoding="utf8").startswith("#version: 0.2\n")
    assert {word for word in words if word.startswith("<|")} == {TOKENIZER["bos_token"], TOKENIZER["eos_token"]}


# Scenes


def test_a_scene_s_texts_are_its_pair_s():
    pairs = Scenes(5)
    for i in range(5):
        pair, texts = pairs[i], pairs.texts(i)
        assert (pair.edit_prompts, pair.original_prompt, pair.edited_prompt) == tuple(
            texts[key] for key in ("edit_prompts", "original_prompt", "edited_prompt")
        )
        assert pair.mask.mode == "L" and pair.mask.size == pair.original_image.size
