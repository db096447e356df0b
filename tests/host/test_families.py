"""Edit checkpoints of SD 2.x and SDXL, which the host alone would build a four-channel network for."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from webui import checkpoints, find_webui

FIRST = "model.diffusion_model.input_blocks.0.0.weight"
SD1_TEXT = {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": [49408, 768]}
SD2_TEXT = {"cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight": [3072, 1024]}
SDXL_TEXT = {"conditioner.embedders.1.model.ln_final.weight": [1280]}


@pytest.mark.parametrize(
    "text, network", [(SD2_TEXT, "unet_config"), (SDXL_TEXT, "network_config"), (SD1_TEXT, "unet_config")], ids=["SD 2", "SDXL", "SD 1"]
)
def test_an_eight_channel_checkpoint_gets_an_eight_channel_network(host, text, network):
    config = host.probe("config", shapes={FIRST: [320, 8, 3, 3], **text})
    assert config["model"]["params"][network]["params"]["in_channels"] == 8


@pytest.mark.parametrize("text", [SDXL_TEXT, SD1_TEXT], ids=["SDXL", "SD 1"])
def test_other_checkpoints_get_the_hosts_own_configuration(host, text):
    config = host.probe("config", shapes={FIRST: [320, 4, 3, 3], **text})
    network = config["model"]["params"].get("network_config") or config["model"]["params"]["unet_config"]
    assert network["params"]["in_channels"] == 4


@pytest.fixture
def sdxl(host):
    # Its live preview would fetch an approximate decoder that the host doesn't ship.
    with host.options(sd_model_checkpoint="sdxl-edit.safetensors", live_previews_enable=False):
        yield host


@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
def test_an_sdxl_edit_model_edits_by_text_and_picture(sdxl, photo, sampler):
    one = sdxl.edit(sampler_name=sampler).pixels
    assert (one == sdxl.edit(sampler_name=sampler).pixels).all()
    other_text = sdxl.edit(sampler_name=sampler, instruction="make it a painting").pixels
    other_picture = sdxl.edit(sampler_name=sampler, image=photo.rotate(180).resize((64, 64))).pixels
    assert np.abs(one - other_text).max() > 8
    assert np.abs(one - other_picture).max() > 8


@pytest.mark.parametrize("sampler", ("Euler", "Heun", "DDIM", "DDIM CFG++", "LCM"))
@pytest.mark.parametrize(
    "fields",
    ({}, dict(negative_prompt="blurry"), dict(instruction="make it winter AND " + "a red hat, " * 40)),
    ids=("plain", "negative", "long"),
)
def test_an_sdxl_edit_equals_the_reference(sdxl, deviation, sampler, fields):
    assert deviation(sampler_name=sampler, batch_size=2, **fields) <= 1e-4


def test_an_sdxl_edit_drops_and_merges_passes(sdxl):
    for scales, rows in (((7.5, 1.5), 3), ((1.5, 1.5), 2), ((1, 1), 1)):
        sdxl.probe("clear")
        sdxl.edit(text_scale=scales[0], image_scale=scales[1], negative_prompt="blurry")
        assert {sum(call) for call in sdxl.probe("records")["calls"]} == {rows}


def test_the_picture_is_the_mode_of_the_posterior(sdxl):
    """SDXL's own encode would sample and scale: two runs of one seed would still be equal, two seeds' conditions not."""
    sdxl.probe("clear")
    sdxl.edit(count=2)
    assert len(sdxl.probe("records")["encodes"]) == 1


@pytest.fixture
def other_folder(host):
    """A folder of checkpoints that the host lists beside its own; what a test puts there is gone after it."""
    folder = host.folder / "models" / "Stable-diffusion" / "others"
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)
    assert host.post("/sdapi/v1/refresh-checkpoints").ok


def test_cosxl_is_not_offered_and_an_edit_with_it_is_refused_by_name(host, other_folder):
    source = checkpoints(find_webui()) / "sdxl-edit.safetensors"
    save_file({**load_file(source), "edm_vpred.sigma_max": torch.tensor([120.0])}, other_folder / "cosxl-edit.safetensors")
    shutil.copy(source.with_suffix(".yaml"), other_folder / "cosxl-edit.yaml")
    assert host.post("/sdapi/v1/refresh-checkpoints").ok
    assert any("cosxl-edit" in one["title"] for one in host.get("/sdapi/v1/sd-models").json())
    assert not any("cosxl" in title for title in host.get("/instruct-edit/v1/status").json()["edit_checkpoints"])
    with host.options(sd_model_checkpoint="others/cosxl-edit.safetensors", live_previews_enable=False):
        assert host.get("/instruct-edit/v1/status").json()["is_edit_model"] is False
        assert "CosXL-Edit, which is trained on other noise levels" in host.refusal()
    assert host.ask().ok


def test_a_checkpoint_moved_with_its_clip_folder_edits_as_before(host, other_folder):
    """Its yaml still names the folder where it was made."""
    source = checkpoints(find_webui()) / "other-edit.safetensors"
    with host.options(sd_model_checkpoint="other-edit.safetensors"):
        before = host.edit().pixels
    for name in ("moved.safetensors", "moved.yaml"):
        shutil.copy(source.with_suffix(Path(name).suffix), other_folder / name)
    shutil.copytree(source.with_suffix(".clip"), other_folder / "moved.clip")
    config = (other_folder / "moved.yaml").read_text(encoding="utf8")
    gone = other_folder / "where-it-was-made" / "moved.clip"
    (other_folder / "moved.yaml").write_text(config.replace(str(source.with_suffix(".clip")), str(gone)), encoding="utf8")
    assert str(gone) in (other_folder / "moved.yaml").read_text(encoding="utf8")
    assert host.post("/sdapi/v1/refresh-checkpoints").ok
    with host.options(sd_model_checkpoint="others/moved.safetensors"):
        assert (host.edit().pixels == before).all()
