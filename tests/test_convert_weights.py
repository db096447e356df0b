"""LDM → diffusers → LDM keeps every weight's bits, and what comes out is what diffusers and the WebUI load."""

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from diffusers import AutoencoderKL, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from convert_cases import networks, same_bits, states_of
from ip2p.checkpoints import ldm
from ip2p.checkpoints.clip import tokenizer_files
from ip2p.checkpoints.convert import convert
from ip2p.checkpoints.keys import POSITIONS, ema_name, names_in_ldm
from ip2p.checkpoints.merge import merge
from ip2p.checkpoints.recognise import UNET, describe, is_edit_checkpoint
from ip2p.errors import EditError
from webui_folder import NONE_FOUND, webui_folder, webui_python

MAKER = Path(__file__).parent / "host" / "make_checkpoint.py"


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


def test_the_configurations_convert_back():
    random = networks()
    unet, vae = (json.loads(random[name].to_json_string()) for name in ("unet", "vae"))
    params = ldm.to_yaml(copy.deepcopy(unet), vae, {})["model"]["params"]
    for given, back in ((unet, ldm.unet_config(params)), (vae, ldm.vae_config(params))):
        kept = {key: value for key, value in back.items() if key != "sample_size"}
        assert {key: given[key] for key in kept} == kept


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


def test_half_is_fp16_both_ways(made, ldm_file, tmp_path):
    convert(ldm_file, tmp_path / "folder", half=True)
    assert {tensor.dtype for tensor in states_of(tmp_path / "folder").values()} == {torch.float16}
    convert(made, tmp_path / "half.safetensors", half=True)
    assert describe(tmp_path / "half.safetensors")["precision"] == "fp16"


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
