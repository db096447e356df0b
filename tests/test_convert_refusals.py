"""What a conversion refuses in a sentence: other families, files that do not fit, broken configurations and vocabularies."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from ip2p.checkpoints.clip import tokenizer_files
from ip2p.checkpoints.convert import convert
from ip2p.checkpoints.recognise import UNET
from ip2p.editor import Editor
from ip2p.errors import EditError


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


def test_normalisation_groups_that_do_not_fit_the_channels_are_refused(made, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    config = json.loads((tmp_path / "made" / "vae" / "config.json").read_text())
    (tmp_path / "made" / "vae" / "config.json").write_text(json.dumps(config | {"norm_num_groups": 7}))
    with pytest.raises(EditError, match="its 7 normalisation groups"):
        convert(tmp_path / "made", tmp_path / "one.safetensors")


def test_without_a_vocabulary_a_sentence_says_where_to_find_one(monkeypatch):
    monkeypatch.setattr("ip2p.checkpoints.clip.find_spec", lambda name: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args: Path("/nowhere/at/all").read_bytes())
    with pytest.raises(EditError, match="suffix"):
        tokenizer_files(None)


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
