"""What a training starts from, and settings that change between two starts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")


from convert_cases import same_bits
from ip2p.checkpoints import ldm
from ip2p.checkpoints.convert import convert
from ip2p.editor import Editor
from ip2p.training.networks import Networks
from ip2p.training.train import has_bf16
from tiny_model import save_folder, tiny_editor
from training_runs import Command, ended, losses, tensors

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


def exported(folder: Path, target: Path, yaml: bool = True) -> Path:
    convert(folder, target)
    if not yaml:
        target.with_suffix(".yaml").unlink()
    return target


def test_it_starts_from_an_ldm_file_as_from_the_folder(trained, edited, edit_config, tmp_path):
    file = exported(trained / "text_to_image" / "model", tmp_path / "start.safetensors")
    ended(edit_config(file, stage={"steps": 2}), said=tmp_path / "said")
    assert losses(tmp_path / "run") == pytest.approx(losses(edited)[:2], abs=1e-6)


def test_it_starts_from_an_edit_model_too(trained):
    one, other = Networks.start(str(trained / "edit/model")).unet, Networks.start(str(trained / "run.safetensors")).unet
    assert one.config.in_channels == other.config.in_channels == 8 and same_bits(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("channels", (4, 8))
def test_a_file_of_sd_1_s_shapes_needs_no_yaml(trained, channels, tmp_path):
    """All of its 1.07 billion weights are one number stored once."""
    state = {}
    for part, count in (("unet", 686), ("vae", 248), ("text_encoder", 196)):
        given = shapes_of(part, channels)
        assert len(given) == count
        state |= {name: torch.zeros(()).expand(shape) for name, shape in given.items()}
    torch.save({"state_dict": state}, tmp_path / "sd.ckpt")
    clip = tmp_path / "sd.clip"
    clip.mkdir()
    for path in (trained / "edit/model/tokenizer").iterdir():
        (clip / path.name).write_bytes(path.read_bytes())
    (clip / "config.json").write_text(json.dumps(ldm_text_config()))
    networks = Networks.start(str(tmp_path / "sd.ckpt"))
    assert networks.unet.config.in_channels == channels and networks.unet.num_parameters() == 859_520_964 + (channels - 4) * 320 * 9
    assert networks.vae.config.scaling_factor == 0.18215


def ldm_text_config() -> dict:
    from ip2p.checkpoints.clip import STANDARD

    return dict(STANDARD) | {"model_type": "clip_text_model", "architectures": ["CLIPTextModel"], "projection_dim": 768}


def shapes_of(part: str, channels: int) -> dict[str, tuple[int, ...]]:
    """LDM's names and shapes of SD 1.x."""
    from ip2p.checkpoints.convert import names_of, shapes

    params = ldm.standard(channels)
    configs = {"unet": ldm.unet_config(params), "vae": ldm.vae_config(params), "text_encoder": ldm_text_config()}
    names, found = names_of(configs)[part], shapes(part, configs[part])
    return {names[name].ldm: (*shape, 1, 1) if names[name].linear else shape for name, shape in found.items()}


def test_a_file_of_other_shapes_without_its_yaml_is_a_sentence(trained, edit_config, tmp_path):
    file = exported(trained / "text_to_image" / "model", tmp_path / "small.safetensors", yaml=False)
    command = Command(edit_config(file), said=tmp_path / "said")
    assert command.status() == 2 and "has no small.yaml beside it" in command.errors[0]


def test_it_trains_in_full_precision_what_was_stored_in_half(tmp_path):
    save_half(tiny_editor(), tmp_path / "start")
    networks = Networks.start(str(tmp_path / "start"))
    assert {network.dtype for network in (networks.unet, networks.vae, networks.text_encoder)} == {torch.float32}


def save_half(editor: Editor, folder: Path) -> None:
    for network in (editor.unet, editor.vae, editor.text_encoder):
        torch.nn.Module.half(network)
        network.save_pretrained(
            folder / {"UNet2DConditionModel": "unet", "AutoencoderKL": "vae"}.get(type(network).__name__, "text_encoder")
        )
    editor.tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "epsilon"}')


def test_a_start_that_is_not_there_is_a_sentence(edit_config, tmp_path):
    command = Command(edit_config(tmp_path / "none.safetensors"), said=tmp_path / "said")
    assert command.status() == 2 and "There is no model" in command.errors[0]


def test_a_model_that_could_not_be_exported_is_refused_before_training(edit_config, tmp_path):
    save_folder(tiny_editor(), tmp_path / "start")
    command = Command(edit_config(tmp_path / "start", export="ema"), said=tmp_path / "said")
    assert command.status() == 2 and "The UNet has 8 normalisation groups" in command.errors[0]
    assert not (tmp_path / "run" / "edit").exists()


def test_mixed_precision_and_gradient_checkpointing_train(edited, edit_config, tmp_path):
    config = edit_config(precision="bf16", stage={"steps": 24, "gradient_checkpointing": True, "learning_rate": 3e-3})
    assert ("has no bf16 of its own" in ended(config, said=tmp_path / "said").out) == (not has_bf16())
    found, before = losses(tmp_path / "run"), losses(edited)
    assert np.isfinite(found).all() and np.mean(found[-6:]) < 0.9 * np.mean(found[:6])
    assert found[0] != before[0] and found[0] == pytest.approx(before[0], rel=0.02), "it is another precision"


def test_the_precision_that_suits_the_device_is_taken(edited, edit_config, tmp_path):
    said = ended(edit_config(precision="auto", stage={"steps": 1}), "device=cpu", said=tmp_path / "said").out
    assert "has no bf16 of its own" not in said
    assert (losses(tmp_path / "run")[0] == losses(edited)[0]) == (not has_bf16())


def test_fp16_without_a_gpu_is_refused_in_a_sentence(edit_config, tmp_path):
    command = Command(edit_config(precision="fp16"), "device=cpu", said=tmp_path / "said")
    assert command.status() == 2
    (line,) = command.errors
    assert line == "precision=fp16 is not available on the cpu: choose no or bf16."


def test_validation_changes_nothing(edited, edit_config, tmp_path):
    ended(edit_config(validation={"every": 0}), said=tmp_path / "said")
    assert [path.stem for path in sorted((edited / "edit/validation").iterdir())] == ["00000004", "00000008"]
    assert not (tmp_path / "run/edit/validation").exists() and losses(tmp_path / "run") == losses(edited)
    one, other = tensors(edited), tensors(tmp_path / "run")
    assert one.keys() == other.keys() and all(same_bits(one[name], other[name]) for name in one)


def test_more_steps_go_on_and_changes_are_named(edited, edit_config, tmp_path):
    config = edit_config(stage={"steps": 3})
    ended(config, said=tmp_path / "said")
    longer = ended(config, "stages.edit.steps=8", said=tmp_path / "said").out
    assert "Changed since the last start: stages.edit.steps: 3 → 8" in longer and "goes on after step 3 of 8" in longer
    one, other = tensors(edited / "edit/model"), tensors(tmp_path / "run/edit/model")
    assert losses(tmp_path / "run") == losses(edited) and all(same_bits(one[name], other[name]) for name in one)
