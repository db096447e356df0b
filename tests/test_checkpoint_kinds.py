"""Checkpoints are recognised and described by their first layer and their keys, whatever they are stored as."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from checkpoint_files import state_dict
from ip2p.checkpoints.recognise import FIRST_LAYER, describe, first_layer_shape, is_edit_checkpoint, refusal, sha256
from ip2p.checkpoints.tensors import Weights
from ip2p.errors import EditError


@pytest.mark.parametrize("channels, edits", [(8, True), (4, False), (9, False)])
def test_a_safetensors_file_is_recognised_by_its_first_layer(tmp_path, channels, edits):
    path = tmp_path / "model.safetensors"
    save_file(state_dict(channels), path, metadata={"modelspec.title": "a model"})
    assert first_layer_shape(path) == (6, channels, 3, 3)
    assert is_edit_checkpoint(path) is edits
    assert is_edit_checkpoint(str(path)) is edits


class Callback:
    """A class of the training code, which a reader has no reason to have."""

    def __init__(self):
        self.best = {"loss": 0.1}


@pytest.mark.parametrize("channels, edits", [(8, True), (4, False)])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer_states": [{"lr": 1e-4}]},
        lambda state: {"callbacks": {Callback: Callback()}, "state_dict": state},
        lambda state: {"hyper": [Callback(), {1, 2}, Path("x"), torch.float16, torch.Size([1])], "state_dict": state},
        lambda state: {"state_dict": {k: torch.nn.Parameter(v.half()) for k, v in state.items()}},
    ],
    ids=["bare", "nested", "foreign class", "odd things", "parameters"],
)
def test_a_ckpt_is_recognised_by_its_first_layer(tmp_path, channels, edits, wrap):
    path = tmp_path / "model.ckpt"
    torch.save(wrap(state_dict(channels)), path)
    assert first_layer_shape(path) == (6, channels, 3, 3)
    assert is_edit_checkpoint(path) is edits


def test_a_state_dict_with_metadata_is_recognised(tmp_path):
    """As `Module.state_dict()` gives it: an OrderedDict with an attribute of its own."""
    state = OrderedDict(state_dict(8))
    state._metadata = OrderedDict({"": {"version": 1}})
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    assert is_edit_checkpoint(tmp_path / "model.ckpt")


def test_another_kind_of_model_is_no_edit_checkpoint(tmp_path):
    save_file({"lora_down.weight": torch.zeros(4, 8, 3, 3)}, tmp_path / "lora.safetensors")
    torch.save({"string_to_param": {"*": torch.zeros(2, 768)}}, tmp_path / "embedding.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.ckpt")
    assert not any(is_edit_checkpoint(path) for path in tmp_path.iterdir())


def test_a_replaced_file_is_looked_at_again(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(state_dict(4), path)
    assert not is_edit_checkpoint(path)
    save_file(state_dict(8), path)
    assert is_edit_checkpoint(path)


def test_a_suffix_in_capitals_is_read(tmp_path):
    path = tmp_path / "MODEL.SAFETENSORS"
    save_file(state_dict(8), path)
    assert is_edit_checkpoint(path) and describe(path)["format"] == "safetensors"
    with Weights(path) as weights:
        assert torch.equal(weights.read(FIRST_LAYER), state_dict(8)[FIRST_LAYER])


ATTENTION = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
FAMILIES = {
    "SD 1.x": ("cond_stage_model.transformer.text_model.final_layer_norm.weight", 768),
    "SD 2.x": ("cond_stage_model.model.ln_final.weight", 1024),
    "SDXL": ("conditioner.embedders.0.transformer.text_model.final_layer_norm.weight", 2048),
}


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
@pytest.mark.parametrize("dtype, precision", [(torch.float32, "fp32"), (torch.float16, "fp16"), (torch.bfloat16, "bf16")])
@pytest.mark.parametrize("with_text", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore:.*TypedStorage")
def test_a_checkpoint_is_described(tmp_path, family, with_text, dtype, precision, suffix):
    text, width = FAMILIES[family]
    state = {**state_dict(8), ATTENTION: torch.zeros(8, width), **({text: torch.zeros(width)} if with_text else {})}
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    state["model_ema.diffusion_modelout2bias"] = torch.zeros(100_000)
    state["positions"] = torch.arange(100_000)
    path = tmp_path / f"model.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    assert describe(path) == {
        "file": path.name,
        "bytes": path.stat().st_size,
        "format": "safetensors" if suffix == "safetensors" else "pickle",
        "family": family,
        "edit": True,
        "input_channels": 8,
        "precision": precision,
        "ema": True,
        "tensors": len(state),
    }


def test_a_mixed_precision_and_no_ema_are_told(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({**state_dict(4), ATTENTION: torch.zeros(1, 768, dtype=torch.float16)}, path)
    found = describe(path)
    assert (found["precision"], found["ema"], found["edit"], found["family"]) == ("mixed", False, False, "SD 1.x")


def test_the_hash_is_the_files_and_the_webuis_is_its_beginning(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(state_dict(8), path)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    found = describe(path, with_hash=True)
    assert found["sha256"] == sha256(path) == expected and found["short_hash"] == expected[:10]


OTHERS = {
    "CosXL-Edit": {"edm_vpred.sigma_max": torch.zeros(1), "conditioner.embedders.0.transformer.x": torch.zeros(1)},
    "Stable Zero123": {"cc_projection.weight": torch.zeros(1), "cond_stage_model.model.visual.proj": torch.zeros(1)},
    "Stable Video Diffusion": {"model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.weight": torch.zeros(1)},
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_models_that_only_look_like_edit_models_are_refused_by_name(tmp_path, name, suffix):
    path = tmp_path / f"model.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)({**state_dict(8), **OTHERS[name]}, path)
    assert not is_edit_checkpoint(path) and refusal(path).startswith(name)
    about = describe(path)
    assert about["edit"] is False and about["refusal"].startswith(name) and about["input_channels"] == 8


def test_a_plain_model_of_that_family_is_not_refused_as_an_edit_model(tmp_path):
    save_file({**state_dict(4), **OTHERS["CosXL-Edit"]}, tmp_path / "cosxl.safetensors")
    assert refusal(tmp_path / "cosxl.safetensors") is None and "refusal" not in describe(tmp_path / "cosxl.safetensors")


CKPT = {
    "of today": torch.save,
    "of torch before 1.6": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("release", CKPT)
@pytest.mark.parametrize(
    "more", [{}, {"lr": np.float64(1e-4), "steps": np.arange(3)}, {"callback": Callback()}], ids=["weights", "numpy", "a class"]
)
def test_a_ckpt_has_one_answer_from_recognising_and_reading(tmp_path, release, more):
    """Whatever the release of torch and whatever else is in it: numbers of numpy, classes of a trainer."""
    path, half = tmp_path / "model.ckpt", state_dict(8)[FIRST_LAYER].half()
    weights = {
        FIRST_LAYER: half.copy_(torch.arange(half.numel()).reshape(half.shape)),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "part": torch.arange(10)[3:7],
        "expanded": torch.ones(()).expand(5, 5),
        "empty": torch.zeros(0, 3, dtype=torch.bfloat16),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "fp8": torch.ones(4).to(torch.float8_e4m3fn),
        "yes": torch.tensor([True, False]),
    }
    CKPT[release]({"state_dict": weights, **more}, path)
    assert is_edit_checkpoint(path) and describe(path)["edit"] and describe(path)["tensors"] == len(weights)
    with Weights(path) as read:
        for name, value in weights.items():
            again = read.read(name)
            assert again.dtype == value.dtype and torch.equal(again.float(), value.float()), name
    path.write_bytes(path.read_bytes()[:-40])
    assert not is_edit_checkpoint(path)
    for look in (describe, Weights):
        with pytest.raises(EditError, match="damaged, cut short or no checkpoint"):
            look(path)
