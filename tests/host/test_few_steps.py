"""The row *LCM-LoRA* of the tab, with a made LoRA: when it is there, what its buttons set, and the rows that its edit takes."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from webui import to_base64

PROMPT, ROW = "ip2p_prompt", "ip2p_lcm_row"
FIELDS = {
    "ip2p_sampler": "LCM",
    "ip2p_scheduler": "SGM Uniform",
    "ip2p_steps": 4,
    "ip2p_text_scale": 2,
    "ip2p_image_scale": 1,
    "ip2p_speed": "exact",
}


def write_lora(file, text_width: int = 64, metadata: dict | None = None) -> None:
    """A random one as kohya's scripts write them, of a layer of the test's network that takes text and of one that takes none."""
    random, tensors = torch.Generator().manual_seed(1), {}
    block = "lora_unet_mid_block_attentions_0_"
    for layer, width in (("proj_in", 64), ("transformer_blocks_0_attn2_to_k", text_width)):
        shape = (1, 1) if layer == "proj_in" else ()
        tensors[f"{block}{layer}.lora_down.weight"] = torch.randn(4, width, *shape, generator=random)
        tensors[f"{block}{layer}.lora_up.weight"] = torch.randn(64, 4, *shape, generator=random) * 0.1
        tensors[f"{block}{layer}.alpha"] = torch.tensor(4.0)
    save_file(tensors, file, metadata)


@pytest.fixture
def folder(host):
    """The WebUI's folder of LoRAs, which is afterwards as it was."""
    place = host.folder / "models" / "Lora"
    before = {*place.iterdir()}
    yield place
    for file in {*place.iterdir()} - before:
        file.unlink()
    host.post("/sdapi/v1/refresh-loras")


def row_of(host) -> tuple[bool, list[str]]:
    """Whether the row is shown to a page that loads, and the LoRAs in it."""
    assert host.post("/sdapi/v1/refresh-loras").ok
    page = host.page()
    (row,) = (c["id"] for c in page["components"] if c["props"].get("elem_id") == ROW)
    index = next(i for i, event in enumerate(page["dependencies"]) if event["outputs"][:1] == [row])
    shown, names = host.post("/run/predict", {"fn_index": index, "data": [], "session_hash": "lcm"}).json()["data"]
    assert names["value"] == (names["choices"][0] if names["choices"] else None)
    return shown["visible"], names["choices"]


def test_the_row_is_there_while_a_lora_says_that_it_is_of_lcm_and_is_of_sd_1(host, folder):
    assert row_of(host) == (False, []), "testlora is no LCM's"
    write_lora(folder / "lcm-sdxl.safetensors", text_width=2048)
    write_lora(folder / "calcmania.safetensors")
    (folder / "lcm-damaged.safetensors").write_bytes(b"none")
    assert row_of(host) == (False, [])
    write_lora(folder / "fast.safetensors", metadata={"modelspec.title": "LCM for SD 1.5"})
    write_lora(folder / "SD15_LCM.safetensors", metadata={"ss_output_name": "lcm_lora"})
    assert row_of(host) == (True, ["fast", "lcm_lora"])


def test_its_buttons_set_four_steps_of_lcm_and_give_the_settings_back(host, folder):
    write_lora(folder / "lcm-made.safetensors")
    row_of(host)
    before = {"ip2p_sampler": "DPM++ 2M", "ip2p_scheduler": "Karras", "ip2p_steps": 12, "ip2p_text_scale": 6.5, "ip2p_image_scale": 1.4}
    before["ip2p_speed"] = "fast"
    sent = {"ip2p_lcm_lora": "lcm-made", PROMPT: "make it winter\nadd a hat"}
    prompt, *values, _, back = host.press(sent | before, elem_id="ip2p_lcm").json()["data"]
    assert prompt == "make it winter <lora:lcm-made:1>\nadd a hat <lora:lcm-made:1>"
    assert dict(zip(FIELDS, values)) == FIELDS and back["visible"]
    again, *values, _, _ = host.press(sent | FIELDS | {PROMPT: prompt}, elem_id="ip2p_lcm").json()["data"]
    assert again == prompt
    prompt, *values, _, back = host.press(sent | FIELDS | {PROMPT: prompt}, elem_id="ip2p_lcm_back").json()["data"]
    assert prompt == "make it winter\nadd a hat" and dict(zip(FIELDS, values)) == before and not back["visible"]


def test_its_edit_runs_with_the_lora_in_eight_rows(host, folder, photo):
    write_lora(folder / "lcm-made.safetensors")
    row_of(host)
    picture = {"ip2p_image": "data:image/png;base64," + to_base64(photo.resize((64, 64))), "ip2p_longest_side": 64, "ip2p_seed": 7}
    prompt, *values, _, _ = host.press({"ip2p_lcm_lora": "lcm-made", PROMPT: "make it winter"}, elem_id="ip2p_lcm").json()["data"]
    host.probe("clear")
    answer = host.press(picture | dict(zip(FIELDS, values)) | {PROMPT: prompt}, elem_id="ip2p_generate").json()["data"]
    text = json.loads(answer[1])["infotexts"][0]
    assert host.rows() == [2, 2, 2, 2]
    assert text.startswith("make it winter <lora:lcm-made:1>\n") and "Lora hashes: " in text
    assert re.search(r"Sampler: LCM, Schedule type: SGM Uniform, CFG scale: 2(\.0)?, .*Image CFG scale: 1(\.0)?, ", text)
    # The same settings with and without it: it is there.
    settings = dict(sampler_name="LCM", scheduler="SGM Uniform", steps=4, text_scale=2, image_scale=1)
    with_it, without = (host.edit(instruction=text, **settings).pixels for text in (prompt, "make it winter"))
    assert (with_it != without).any()
