"""LDM → diffusers → LDM keeps every weight's bits, and what comes out is what diffusers and the WebUI load."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from ip2p.__main__ import main
from ip2p.checkpoints import ldm, small
from ip2p.checkpoints.clip import tokenizer_files
from ip2p.checkpoints.convert import convert
from ip2p.checkpoints.keys import POSITIONS, ema_name, names_in_ldm
from ip2p.checkpoints.merge import merge
from ip2p.checkpoints.recognise import UNET, describe, is_edit_checkpoint
from ip2p.checkpoints.tensors import Weights
from ip2p.edit import Edit
from ip2p.editor import Editor
from ip2p.errors import EditError
from webui_folder import NONE_FOUND, webui_folder, webui_python

MAKER = Path(__file__).parent / "host" / "make_checkpoint.py"
UNET_CONFIG = {
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [32, 64, 64],
    "layers_per_block": 2,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "attention_head_dim": 4,
    "cross_attention_dim": 64,
}
VAE_CONFIG = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [32, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "latent_channels": 4,
}
TEXT_CONFIG = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1, "vocab_size": 1000}


@pytest.fixture(scope="session")
def networks():
    torch.manual_seed(0)
    return {
        "unet": UNet2DConditionModel(**UNET_CONFIG),
        "vae": AutoencoderKL(**VAE_CONFIG),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT_CONFIG)),
    }


@pytest.fixture(scope="session")
def made(networks, tmp_path_factory):
    """A diffusers folder as diffusers and transformers write it, of random networks."""
    folder = tmp_path_factory.mktemp("diffusers") / "model"
    for name, network in networks.items():
        network.save_pretrained(folder / name)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": "epsilon"}))
    return folder


@pytest.fixture
def ldm_file(made, tmp_path):
    path = tmp_path / "ldm.safetensors"
    convert(made, path)
    return path


def same_bits(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
        for a, b in ((one[name], other[name]) for name in one)
    )


def states_of(folder: Path) -> dict:
    found = {}
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (folder / part).glob("*.safetensors")
        found |= {f"{part}.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(file).items()}
    return found


def test_diffusers_to_ldm_to_diffusers_keeps_every_bit(made, ldm_file, tmp_path):
    assert is_edit_checkpoint(ldm_file) and describe(ldm_file)["family"] == "SD 1.x"
    done = convert(ldm_file, tmp_path / "back")
    assert same_bits(states_of(made), states_of(tmp_path / "back"))
    assert done.kept == len(states_of(made)) and done.left_out == [POSITIONS]


def test_ldm_to_diffusers_to_ldm_keeps_every_bit(ldm_file, tmp_path):
    """With mixed precisions and values that only bits tell apart."""
    state = load_file(ldm_file)
    state[UNET + "out.2.bias"] = torch.tensor([-0.0, float("nan"), 1e-45, -1.0])
    state[UNET + "out.2.weight"] = state[UNET + "out.2.weight"].half()
    state["first_stage_model.quant_conv.weight"] = state["first_stage_model.quant_conv.weight"].bfloat16()
    save_file(state, ldm_file)
    convert(ldm_file, tmp_path / "folder")
    convert(tmp_path / "folder", tmp_path / "back.safetensors")
    assert same_bits(state, load_file(tmp_path / "back.safetensors"))
    assert OmegaConf.load(tmp_path / "back.yaml").model.params.unet_config == OmegaConf.load(tmp_path / "ldm.yaml").model.params.unet_config


@pytest.mark.parametrize("groups", (8, 32))
def test_a_vae_of_other_normalisation_groups_keeps_every_bit(made, groups, tmp_path):
    """LDM → diffusers → LDM; a yaml names the class that knows them only where they are not LDM's own 32."""
    shutil.copytree(made, tmp_path / "made")
    config = json.loads((tmp_path / "made" / "vae" / "config.json").read_text())
    (tmp_path / "made" / "vae" / "config.json").write_text(json.dumps(config | {"norm_num_groups": groups}))
    convert(tmp_path / "made", tmp_path / "one.safetensors")
    convert(tmp_path / "one.safetensors", tmp_path / "folder")
    convert(tmp_path / "folder", tmp_path / "two.safetensors")
    assert same_bits(load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two.safetensors"))
    first, second = (OmegaConf.load(tmp_path / f"{name}.yaml").model.params.first_stage_config for name in ("one", "two"))
    assert first == second and first.params.get("norm_groups", 32) == groups
    assert first.target == ("ldm.models.autoencoder.AutoencoderKL" if groups == 32 else "ip2p.webui.autoencoder.AutoencoderKL")
    vae = AutoencoderKL.from_pretrained(tmp_path / "folder" / "vae")
    norms = {module.num_groups for module in vae.modules() if isinstance(module, torch.nn.GroupNorm)}
    assert vae.config.norm_num_groups == groups and norms == {groups}


def test_normalisation_groups_that_do_not_fit_the_channels_are_refused(made, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    config = json.loads((tmp_path / "made" / "vae" / "config.json").read_text())
    (tmp_path / "made" / "vae" / "config.json").write_text(json.dumps(config | {"norm_num_groups": 7}))
    with pytest.raises(EditError, match="its 7 normalisation groups"):
        convert(tmp_path / "made", tmp_path / "one.safetensors")


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """A checkpoint whose networks LDM's own code made, in the WebUI's Python."""
    if webui_python() is None:
        pytest.skip(NONE_FOUND)
    path = tmp_path_factory.mktemp("ldm") / "edit.safetensors"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([webui_python(), MAKER, webui_folder(), path], env=env, check=True, capture_output=True)
    return path


def test_a_checkpoint_of_ldms_own_code_keeps_every_bit(real, tmp_path):
    done = convert(real, tmp_path / "folder")
    convert(tmp_path / "folder", tmp_path / "back.safetensors")
    assert same_bits(load_file(real), load_file(tmp_path / "back.safetensors"))
    assert done.left_out == [POSITIONS]
    before, after = (OmegaConf.to_container(OmegaConf.load(path.with_suffix(".yaml"))) for path in (real, tmp_path / "back.safetensors"))
    for config in (before, after):
        config["model"]["params"]["cond_stage_config"].pop("params")
        config["model"]["params"]["first_stage_config"]["params"].pop("monitor", None)
    assert before == after


def test_a_converted_folder_is_a_pipeline_of_diffusers(real, tmp_path):
    convert(real, tmp_path / "folder")
    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(tmp_path / "folder")
    assert pipeline.unet.config.in_channels == 8 and pipeline.scheduler.config.prediction_type == "epsilon"
    ids = pipeline.tokenizer("make it winter").input_ids
    assert (ids[0], ids[-1], len(ids)) == (49406, 49407, 5)
    state = load_file(real)
    assert torch.equal(pipeline.unet.conv_in.weight.half(), state[UNET + "input_blocks.0.0.weight"])


def test_the_vocabulary_is_made_from_openais_list(real):
    """As the transformers that made the checkpoint's own folder took it."""
    found = sorted((webui_python().parent.parent / "lib").glob("python3*/site-packages/open_clip/bpe_simple_vocab_16e6.txt.gz"))
    if not found:
        pytest.skip("the WebUI has no open_clip")
    files, folder = tokenizer_files(found[0]), real.with_suffix(".clip")
    assert json.loads(files["vocab.json"]) == json.loads((folder / "vocab.json").read_text(encoding="utf8"))
    assert files["merges.txt"].decode() == (folder / "merges.txt").read_text(encoding="utf8")
    with pytest.raises(EditError, match="neither a folder nor"):
        tokenizer_files(real)


def test_without_a_vocabulary_a_sentence_says_where_to_find_one(monkeypatch):
    monkeypatch.setattr("ip2p.checkpoints.clip.find_spec", lambda name: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args: Path("/nowhere/at/all").read_bytes())
    with pytest.raises(EditError, match="suffix"):
        tokenizer_files(None)


def test_the_standard_networks_have_a_name_for_every_weight():
    """Of the size of the published model, without its weights."""
    params = ldm.standard(8)
    configs = ldm.unet_config(params), ldm.vae_config(params)
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel.from_config(configs[0]), AutoencoderKL.from_config(configs[1])
    found = names_in_ldm(*configs)
    for names, network, count in zip(found, (unet, vae), (686, 248)):
        state = network.state_dict()
        assert len(state) == count and state.keys() <= names.keys()
        assert len({names[name].ldm for name in state}) == count
    taken = [ema_name(found[0][name].ldm) for name in unet.state_dict()]
    assert len(set(taken)) == len(taken)


def with_extras(path: Path) -> dict:
    """EMA weights, another number each, schedule and training state put into a file; gives the state."""
    state = load_file(path)
    state |= {ema_name(name): tensor + 1 for name, tensor in state.items() if name.startswith(UNET)}
    state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(3, dtype=torch.int32)}
    state |= {"alphas_cumprod": torch.rand(1000), "betas": torch.rand(1000)}
    save_file(state, path)
    return state


def test_ema_weights_are_taken_when_asked_for_and_listed_when_not(ldm_file, tmp_path):
    state = with_extras(ldm_file)
    networks = {name for name in load_file(ldm_file) if name.startswith((UNET, "first_stage_model.", "cond_stage_model."))}
    plain, averaged = convert(ldm_file, tmp_path / "plain"), convert(ldm_file, tmp_path / "averaged", ema=True)
    assert set(plain.left_out) == set(state) - networks | {POSITIONS}
    assert {"alphas_cumprod", "model_ema.decay", UNET + "out.2.weight"} < set(averaged.left_out)
    convert(tmp_path / "averaged", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert same_bits(
        {name: state[ema_name(name)] for name in networks if name.startswith(UNET)}, {n: t for n, t in back.items() if UNET in n}
    )
    assert same_bits({name: state[name] for name in networks if UNET not in name}, {n: t for n, t in back.items() if UNET not in n})


def test_a_file_is_made_smaller(ldm_file, tmp_path):
    state = with_extras(ldm_file)
    done = convert(ldm_file, tmp_path / "small.safetensors", ema=True, half=True)
    small = load_file(tmp_path / "small.safetensors")
    assert torch.equal(small[UNET + "out.2.weight"], state["model_ema.diffusion_modelout2weight"].half())
    assert describe(tmp_path / "small.safetensors")["precision"] == "fp16" and not describe(tmp_path / "small.safetensors")["ema"]
    assert len(small) == done.kept + 1
    before, after = (OmegaConf.load(tmp_path / f"{name}.yaml").model.params for name in ("ldm", "small"))
    for params, name in ((before, "ldm"), (after, "small")):
        assert params.cond_stage_config.params.pop("version") == str(tmp_path / f"{name}.clip")
    assert before == after
    assert (tmp_path / "small.safetensors").stat().st_size < 0.35 * ldm_file.stat().st_size


def test_half_is_fp16_both_ways(made, ldm_file, tmp_path):
    convert(ldm_file, tmp_path / "folder", half=True)
    assert {tensor.dtype for tensor in states_of(tmp_path / "folder").values()} == {torch.float16}
    convert(made, tmp_path / "half.safetensors", half=True)
    assert describe(tmp_path / "half.safetensors")["precision"] == "fp16"


def test_a_ckpt_is_read_and_nothing_in_it_is_run(ldm_file, tmp_path):
    state = load_file(ldm_file)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "model.ckpt")
    (tmp_path / "model.yaml").write_bytes((tmp_path / "ldm.yaml").read_bytes())
    shutil.copytree(tmp_path / "ldm.clip", tmp_path / "model.clip")
    convert(tmp_path / "model.ckpt", tmp_path / "again.safetensors")
    assert same_bits(state, load_file(tmp_path / "again.safetensors"))

    class Foreign:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trap"),)

    torch.save({"state_dict": state, "callback": Foreign()}, tmp_path / "model.ckpt")
    convert(tmp_path / "model.ckpt", tmp_path / "more.safetensors")
    assert same_bits(state, load_file(tmp_path / "more.safetensors")) and not (tmp_path / "trap").exists()


def test_former_names_of_a_vaes_attention_are_known(made, tmp_path, ldm_file):
    shutil.copytree(made, tmp_path / "old")
    (file,) = (tmp_path / "old" / "vae").glob("*.safetensors")
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, tensor in load_file(file).items():
        for today, name_then in former.items():
            name = name.replace(f".{today}.", f".{name_then}.")
        state[name] = tensor
    save_file(state, file)
    convert(tmp_path / "old", tmp_path / "old.safetensors")
    assert same_bits(load_file(ldm_file), load_file(tmp_path / "old.safetensors"))


def test_v_prediction_survives(made, ldm_file, tmp_path):
    config = OmegaConf.load(tmp_path / "ldm.yaml")
    assert config.model.target == "modules.models.diffusion.ddpm_edit.LatentDiffusion"
    assert (config.model.params.conditioning_key, config.model.params.cond_stage_key) == ("hybrid", "edit")
    config.model.params.parameterization = "v"
    OmegaConf.save(config, tmp_path / "ldm.yaml")
    convert(ldm_file, tmp_path / "folder")
    convert(tmp_path / "folder", tmp_path / "back.safetensors")
    back = OmegaConf.load(tmp_path / "back.yaml").model
    assert back.params.parameterization == "v" and back.target == "ldm.models.diffusion.ddpm.LatentDiffusion"


def test_what_does_not_fit_is_refused_in_a_sentence(made, ldm_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    state = load_file(ldm_file)
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes(ldm_file.read_bytes())
    clip = tmp_path / "ldm.clip"
    with pytest.raises(EditError, match="does not fit its configuration"):
        convert(lone, tmp_path / "out", tokenizer=clip)  # without its yaml it would be of SD 1.x's size
    yaml = (tmp_path / "ldm.yaml").read_text()
    (tmp_path / "lone.yaml").write_text(yaml)
    with pytest.raises(EditError, match="no EMA weights"):
        convert(lone, tmp_path / "out", ema=True)
    save_file({name: tensor for name, tensor in state.items() if name != UNET + "out.2.weight"}, lone)
    with pytest.raises(EditError, match=r"lacks conv_out\.weight"):
        convert(lone, tmp_path / "out")
    save_file({**state, UNET + "label_emb.0.weight": torch.zeros(1)}, lone)
    with pytest.raises(EditError, match="label_emb"):
        convert(lone, tmp_path / "out")
    (tmp_path / "lone.yaml").write_text("model: {params: {}}")
    with pytest.raises(EditError, match="no configuration"):
        convert(lone, tmp_path / "out")
    save_file({"lora_down.weight": torch.zeros(1)}, lone)
    with pytest.raises(EditError, match="no checkpoint"):
        convert(lone, tmp_path / "out")
    with pytest.raises(EditError, match="no “unet” folder"):
        convert(clip, tmp_path / "out.safetensors")
    for arguments in ({"ema": True}, {}):
        with pytest.raises(EditError, match=r"--ema is for files|name a \.safetensors file"):
            convert(made, tmp_path / "out", **arguments)
    with pytest.raises(EditError, match=r"has no vocab\.json"):
        convert(ldm_file, tmp_path / "out", tokenizer=made / "unet")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_other_families_are_refused(made, tmp_path):
    for change in ({"use_linear_projection": True}, {"attention_head_dim": [5, 10, 20]}, {"norm_num_groups": 16}):
        shutil.copytree(made, tmp_path / "other")
        config = json.loads((tmp_path / "other" / "unet" / "config.json").read_text())
        (tmp_path / "other" / "unet" / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(EditError, match=r"another family|groups"):
            convert(tmp_path / "other", tmp_path / "out.safetensors")
        shutil.rmtree(tmp_path / "other")


def test_nothing_is_overwritten_unless_forced(made, ldm_file, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "mine.jpg").write_text("mine")
    for force in (False, True):
        with pytest.raises(EditError, match=r"--force|not overwritten"):
            convert(ldm_file, folder, force=force)
    assert (folder / "mine.jpg").read_text() == "mine"
    convert(ldm_file, tmp_path / "model")
    with pytest.raises(EditError, match="--force"):
        convert(ldm_file, tmp_path / "model")
    convert(ldm_file, tmp_path / "model", force=True)
    with pytest.raises(EditError, match="--force"):
        convert(made, ldm_file)
    convert(made, ldm_file, force=True)
    assert is_edit_checkpoint(ldm_file)


def test_a_full_disk_leaves_nothing_behind(ldm_file, tmp_path, monkeypatch):
    def full(path, *rest):
        Path(path).write_bytes(b"some")
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("ip2p.checkpoints.convert.write_safetensors", full)
    with pytest.raises(EditError, match="no space left"):
        convert(ldm_file, tmp_path / "folder")
    assert sorted(tmp_path.iterdir()) == before


def test_convert_and_merge_from_the_command_line(ldm_file, tmp_path, capsys):
    with_extras(ldm_file)
    assert main(["model", "convert", str(ldm_file), str(tmp_path / "folder"), "--ema"]) == 0
    told = capsys.readouterr().out
    assert "betas" in told and "Left out" in told
    assert main(["model", "merge", *[str(ldm_file)] * 3, str(tmp_path / "merged.safetensors")]) == 0
    assert "the difference was added to" in capsys.readouterr().out
    with Weights(ldm_file) as one, Weights(tmp_path / "merged.safetensors") as other:
        assert torch.equal(one.read(UNET + "out.2.weight"), other.read(UNET + "out.2.weight"))


def test_the_configurations_convert_back(networks):
    unet = json.loads(networks["unet"].to_json_string())
    vae = json.loads(networks["vae"].to_json_string())
    params = ldm.to_yaml(copy.deepcopy(unet), vae, {})["model"]["params"]
    for given, back in ((unet, ldm.unet_config(params)), (vae, ldm.vae_config(params))):
        kept = {key: value for key, value in back.items() if key != "sample_size"}
        assert {key: given[key] for key in kept} == kept


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def model(ldm_file, made, tmp_path):
    """A file and a folder to convert, in a place of their own."""
    folder = tmp_path / "model"
    folder.mkdir()
    for suffix in ("safetensors", "yaml", "clip"):
        (tmp_path / f"ldm.{suffix}").rename(folder / f"ldm.{suffix}")
    return {"file": folder / "ldm.safetensors", "folder": made}


@pytest.mark.parametrize("source", ["file", "folder"])
def test_a_failure_leaves_nothing_and_the_next_run_is_not_refused(model, source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()

    def full(path, *rest):
        Path(path).write_bytes(b"some")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ip2p.checkpoints.convert.write_safetensors", full)
        with pytest.raises(EditError, match="no space left"):
            convert(model[source], out / "model.safetensors")
    assert list(out.iterdir()) == []
    convert(model[source], out / "model.safetensors")
    assert {path.name for path in out.iterdir()} == {"model.clip", "model.yaml", "model.safetensors"}
    before = listing(out)
    with monkeypatch.context() as patched:
        patched.setattr("ip2p.checkpoints.convert.write_safetensors", full)
        with pytest.raises(EditError, match="no space left"):
            convert(model[source], out / "model.safetensors", half=True, force=True)
    assert listing(out) == before, "what was to be replaced is as it was"


KILLED = """
import os, signal, sys
from pathlib import Path
from ip2p.checkpoints import convert as module

source, output, moment = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
replace, write, count = os.replace, module.write_safetensors, 0

def replaced(*places):
    global count
    count += 1
    if count == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*places)

def written(*rest):
    if moment == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*rest)

os.replace, module.write_safetensors = replaced, written
module.convert(source, output, force="--force" in sys.argv)
"""


@pytest.mark.skipif(os.name != "posix", reason="this system has no SIGKILL")
def test_a_killed_run_is_cleared_by_the_next(model, tmp_path):
    """Killed when the text encoder's folder is in its place and the weights are not."""
    out = tmp_path / "out"
    argv = [sys.executable, "-c", KILLED, str(model["file"]), str(out / "model.safetensors"), "2"]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(MAKER.parents[2])}, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert (out / "model.clip").exists() and not (out / "model.safetensors").exists()
    convert(model["file"], out / "model.safetensors")
    assert {path.name for path in out.iterdir()} == {f"model.{suffix}" for suffix in ("clip", "yaml", "safetensors")}
    assert same_bits(load_file(out / "model.safetensors"), load_file(model["file"]))


def test_the_yaml_and_the_text_encoder_come_along_and_are_found_after_a_move(tmp_path):
    half, merged = tmp_path / "one" / "half.safetensors", tmp_path / "one" / "merged.safetensors"
    convert(small.FILE, half, half=True)
    merge(*[small.FILE] * 3, merged)
    expected = pixels(Editor.load("small", device="cpu"))
    for path in (half, merged):
        assert {f"{path.stem}.{suffix}" for suffix in ("clip", "yaml", "safetensors")} <= {other.name for other in path.parent.iterdir()}
        assert np.abs(pixels(Editor.load(path, device="cpu")) - expected).max() <= 2
    moved = half.parent.rename(tmp_path / "two")
    assert np.abs(pixels(Editor.load(moved / half.name, device="cpu")) - expected).max() <= 2


def pixels(editor: Editor) -> np.ndarray:
    edit = Edit(image=Image.radial_gradient("L").resize((64, 64)).convert("RGB"), instruction="make it winter", seed=3, steps=2)
    return np.asarray(editor.edit(edit)[0].image, dtype=np.int16)


def test_a_ckpt_becomes_a_safetensors_file_of_the_same_name(ldm_file, tmp_path):
    state = load_file(ldm_file)
    torch.save({"state_dict": state}, tmp_path / "ldm.ckpt")
    ldm_file.unlink()
    before = listing(tmp_path)
    convert(tmp_path / "ldm.ckpt", ldm_file)
    assert same_bits(load_file(ldm_file), state) and listing(tmp_path).items() >= before.items()


def test_fp8_is_kept_and_becomes_fp16(ldm_file, tmp_path):
    state = {name: value.to(torch.float8_e4m3fn) if value.is_floating_point() else value for name, value in load_file(ldm_file).items()}
    save_file(state, ldm_file)
    convert(ldm_file, tmp_path / "fp8.safetensors")
    convert(ldm_file, tmp_path / "fp16.safetensors", half=True)
    name = UNET + "out.2.weight"
    assert load_file(tmp_path / "fp8.safetensors")[name].dtype == torch.float8_e4m3fn
    assert torch.equal(load_file(tmp_path / "fp16.safetensors")[name], state[name].half())
    merge(ldm_file, ldm_file, ldm_file, tmp_path / "merged.safetensors")
    assert torch.equal(load_file(tmp_path / "merged.safetensors")[name].float(), state[name].float())


BROKEN_CLIP = {
    "no JSON": b"{",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "another width": b'{"hidden_size": 7}',
    "a width of text": b'{"hidden_size": "wide"}',
    "layers without end": b'{"num_hidden_layers": 1000000000}',
    "heads that do not fit": b'{"num_attention_heads": 5}',
    "no heads": b'{"num_attention_heads": 0}',
    "an unknown activation": b'{"num_attention_heads": 1, "hidden_act": "none such"}',
}


@pytest.mark.parametrize("broken", BROKEN_CLIP)
def test_a_broken_text_encoder_s_folder_is_a_sentence(ldm_file, tmp_path, broken):
    (tmp_path / "ldm.clip" / "config.json").write_bytes(BROKEN_CLIP[broken])
    with pytest.raises(EditError):
        convert(ldm_file, tmp_path / "out")
    with pytest.raises(EditError):
        Editor.load(ldm_file)


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"a": "b"}'])
def test_a_broken_vocabulary_is_a_sentence(ldm_file, tmp_path, content):
    (tmp_path / "ldm.clip" / "vocab.json").write_bytes(content)
    with pytest.raises(EditError):
        Editor.load(ldm_file)


BROKEN_YAML = {
    "unet_config.params.model_channels": ["wide", -1, 2**40, True, None],
    "unet_config.params.channel_mult": [[], "12", [1] * 1000, [0], 3],
    "unet_config.params.num_res_blocks": [10**9, -1, "2"],
    "unet_config.params.transformer_depth": [10**9, "deep"],
    "unet_config.params.attention_resolutions": [None, 4],
    "unet_config.params.num_heads": [0, "x"],
    "unet_config": [None, [], "x"],
    "first_stage_config.params.ddconfig": [None, [], {}],
    "first_stage_config.params.ddconfig.ch_mult": [None, [10**9], "1"],
    "first_stage_config.params.norm_groups": ["x", -8, 0],
    "scale_factor": ["x", float("nan"), None],
    "cond_stage_config.params.version": [5, []],
    "cond_stage_config": [5, []],
}


@pytest.mark.parametrize("place", BROKEN_YAML)
def test_a_broken_yaml_is_a_sentence_or_of_no_matter(ldm_file, tmp_path, place):
    good = (tmp_path / "ldm.yaml").read_text()
    for i, value in enumerate(BROKEN_YAML[place]):
        config = OmegaConf.create(good)
        OmegaConf.update(config, f"model.params.{place}", value, merge=False)
        OmegaConf.save(config, tmp_path / "ldm.yaml")
        try:
            convert(ldm_file, tmp_path / f"out{i}")
        except EditError as e:
            assert str(e).endswith(".")
        else:
            assert place.startswith("cond_stage_config")


def test_a_yaml_that_refers_to_itself_is_refused(ldm_file, tmp_path):
    lines = ["a: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))]
    with (tmp_path / "ldm.yaml").open("a") as file:
        file.write("\n".join(["", *lines]))
    with pytest.raises(EditError, match="refers to itself"):
        convert(ldm_file, tmp_path / "out")
