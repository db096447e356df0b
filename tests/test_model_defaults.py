"""The settings that suit a model: named by the model itself, kept whatever it is made into, never a traceback."""

import json
import struct
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ip2p.checkpoints.defaults import FOLDER_FILE, ModelDefaults, defaults_for, instructions_for, metadata_of
from ip2p.checkpoints.packaged import SMALL
from ip2p.edit import OFFICIAL_RANGES
from ip2p.errors import EditError
from ip2p.presets import Preset

SAID = {"text_scale": "3", "image_scale": "1.25", "steps": "30", "size": "384", "instructions": "make it winter\nmake it night"}
SAID |= {"sampler": "LCM", "scheduler": "SGM Uniform"}
OWN = ModelDefaults(384, 3.0, 1.25, 30, "LCM", "SGM Uniform")


def with_metadata(path, said):
    save_file({"x": torch.zeros(1)}, path, {f"instruct_edit.{key}": value for key, value in said.items()} | {"format": "pt"})
    return path


def test_a_file_and_a_folder_name_them(tmp_path):
    file = with_metadata(tmp_path / "mine.safetensors", SAID)
    (tmp_path / "folder").mkdir()
    numbers = SAID | {"text_scale": 3, "image_scale": 1.25, "steps": 30, "size": 384}
    (tmp_path / "folder" / FOLDER_FILE).write_text(json.dumps(numbers))
    for model in (str(file), str(tmp_path / "folder")):
        assert defaults_for(model) == OWN
        assert instructions_for(model) == ("make it winter", "make it night")


def test_the_package_s_own_and_its_copy_in_a_webui_say_the_same(tmp_path):
    own = defaults_for("small")
    assert own == SMALL.defaults != ModelDefaults()
    assert defaults_for(str(SMALL.file)) == defaults_for(str(SMALL.install(tmp_path))) == own


def test_who_says_nothing_is_edited_as_the_published_one(tmp_path):
    silent = with_metadata(tmp_path / "silent.safetensors", {})
    for model in (silent, tmp_path, tmp_path / "none.safetensors", "official", "someone/model"):
        assert defaults_for(str(model)) == ModelDefaults(512, 7.5, 1.5, 20, "Euler a", "Automatic", 3)
        assert instructions_for(str(model)) == ()


@pytest.mark.parametrize(
    "key, value",
    [
        ("text_scale", "much"),
        ("text_scale", "nan"),
        ("image_scale", "-1"),
        ("steps", "2.5"),
        ("steps", "0"),
        ("size", "1e9"),
        ("size", ""),
        ("sampler", " "),
        ("scheduler", "x" * 200),
        ("passes", "0"),
        ("passes", "one"),
    ],
)
def test_a_damaged_value_is_left_out_and_the_others_are_taken(key, value, tmp_path):
    field = {"size": "longest_side", "sampler": "sampler_name"}.get(key, key)
    file = with_metadata(tmp_path / "mine.safetensors", SAID | {key: value})
    (tmp_path / FOLDER_FILE).write_text(json.dumps(SAID | {key: value}))
    for model in (file, tmp_path):
        assert vars(defaults_for(str(model))) == vars(OWN) | {field: getattr(ModelDefaults(), field)}


@pytest.mark.parametrize(
    "header",
    [b"", b"\xff" * 8, b"{", b"[]", b'{"__metadata__": 7}', b'{"__metadata__": ["instruct_edit.steps"]}', b"\xff\xfe", b"[" * 5000],
)
def test_a_damaged_header_or_file_is_nobody_s_traceback(header, tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    (tmp_path / FOLDER_FILE).write_bytes(header)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(header[:4])
    for model in (file, tmp_path, cut):
        assert defaults_for(str(model)) == ModelDefaults() and instructions_for(str(model)) == ()


def test_too_long_an_instruction_is_no_example(tmp_path):
    assert instructions_for(str(with_metadata(tmp_path / "mine.safetensors", {"instructions": "x" * 20_000}))) == ()


def test_converted_there_and_back_and_made_smaller_it_says_the_same(tmp_path):
    pytest.importorskip("diffusers", reason="converting needs diffusers and transformers (pip install -e '.[edit]')")
    from convert_cases import diffusers_folder
    from ip2p.checkpoints.convert import convert

    folder = diffusers_folder(tmp_path / "made")
    (folder / FOLDER_FILE).write_text(json.dumps(SAID))
    convert(folder, tmp_path / "file.safetensors")
    convert(tmp_path / "file.safetensors", tmp_path / "half.safetensors", half=True)
    convert(tmp_path / "half.safetensors", tmp_path / "back", tokenizer=folder / "tokenizer")
    convert(tmp_path / "half.safetensors", tmp_path / "back", tokenizer=folder / "tokenizer", force=True)  # the file is one of its own
    for model in ("file.safetensors", "half.safetensors", "back"):
        assert metadata_of(tmp_path / model) == SAID


def test_a_merge_says_what_the_edit_model_says(tmp_path):
    from ip2p.checkpoints.merge import merge
    from ip2p.checkpoints.recognise import FIRST_LAYER

    for name, channels in (("mine", 4), ("edit", 8), ("base", 4)):
        metadata = {f"instruct_edit.{key}": value for key, value in SAID.items()} if name == "edit" else {"instruct_edit.steps": "7"}
        save_file({FIRST_LAYER: torch.ones(8, channels, 3, 3)}, tmp_path / f"{name}.safetensors", metadata)
    merge(*(tmp_path / f"{name}.safetensors" for name in ("mine", "edit", "base", "out")))
    assert metadata_of(tmp_path / "out.safetensors") == SAID
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert "ip2p.merge" in file.metadata()


def test_training_writes_them_and_refuses_what_no_edit_can_take(tmp_path):
    pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")
    from ip2p.training.config import load
    from ip2p.training.export import defaults_in_header

    path = tmp_path / "config.yaml"
    path.write_text("output: out\ndata: {pairs: scenes}\nstages: {autoencoder: {}, edit: {train_text: true}}\n")
    changes = [f"defaults.{key}={value}" for key, value in SAID.items() if key != "instructions"]
    config = load(path, [*changes, "defaults.instructions=[make it winter, make it night]"])
    assert defaults_in_header(config) == {f"instruct_edit.{key}": value for key, value in SAID.items()}
    assert defaults_in_header(load(path)) == {}
    for change in ("defaults.text_scale=1000", "defaults.size=8", "defaults.steps=0"):
        with pytest.raises(EditError, match="defaults names what no edit can take"):
            load(path, [change])


def test_scales_are_drawn_from_a_fifth_around_the_model_s_which_for_the_published_one_is_the_official_range():
    assert ModelDefaults().scale_ranges == OFFICIAL_RANGES == ((6.0, 9.0), (1.2, 1.8))
    assert OWN.scale_ranges == ((2.4, 3.6), (1.0, 1.5))


def test_a_ready_instruction_s_scales_are_the_published_checkpoint_s_and_one_s_own_are_for_any():
    shipped = Preset("Rain", "add rain", text_scale=8, image_scale=1.6, steps=25)
    ours = {"text_scale": 8.0, "image_scale": 1.6, "steps": 25, "detail": 1.0}
    assert ModelDefaults().ready(shipped) == ModelDefaults(longest_side=768, steps=30).ready(shipped) == ours
    assert OWN.ready(shipped) == ours | {"text_scale": OWN.text_scale, "image_scale": OWN.image_scale}
    assert OWN.ready(replace(shipped, own=True)) == ours
