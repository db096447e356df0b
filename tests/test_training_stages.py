"""Stages of texts and of autoencoders, and sets with broken pictures."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")


from ip2p.dataset.parquet_writer import write_pairs
from ip2p.dataset.scenes import scene
from ip2p.training import data
from ip2p.training.config import Data as DataConfig
from ip2p.training.config import load
from ip2p.training.networks import Networks
from ip2p.training.rows import Rows
from training_runs import Command, ended, losses, only, write_config

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


def test_a_stage_of_texts_tells_kinds_of_edits_apart_before_the_edit_stage(tmp_path):
    def kinds():
        for i in range(16):
            kind = ("night", "winter")[i % 2]
            prompts = tuple(f"{verb} it {kind}" for verb in ("make", "turn", "now make"))
            yield replace(scene(i).pair(), edit_prompts=prompts, extra={"kind": kind, "parameter": ""})

    write_pairs(kinds(), tmp_path / "pairs.parquet")
    one_step = {"steps": 1, "batch_size": 2, "size": 32}
    stages = {
        "autoencoder": one_step, "text_to_image": None, "edit": None,
        "text": {"steps": 40, "batch_size": 8, "learning_rate": 1e-2, "ema": 0.5}, "last": {**one_step, "train_text": True},
    }  # fmt: skip
    config = write_config(
        tmp_path / "texts.yaml",
        output=str(tmp_path / "run"), data={"pairs": str(tmp_path / "pairs.parquet")}, validation={"every": 0}, stages=stages,
    )  # fmt: skip
    ended(config, said=tmp_path / "said", environment={"HF_HOME": str(tmp_path)})
    read = losses(tmp_path / "run", "text")
    assert read[0] > 0.5 and read[-1] < 0.05
    texts_stage, last_stage = (Networks.read(tmp_path / "run" / stage / "model") for stage in ("text", "last"))
    assert texts_stage.unet is None and last_stage.unet is not None
    before, after = (networks.text_encoder.state_dict() for networks in (texts_stage, last_stage))
    assert all((before[key] - after[key]).abs().max() < 0.01 for key in before), "the edit stage goes on with them"


def test_a_stage_of_texts_needs_the_kinds_and_says_so_before_any_training(tmp_path):
    write_pairs((scene(i).pair() for i in range(4)), tmp_path / "pairs.parquet")
    config = write_config(
        tmp_path / "texts.yaml", output=str(tmp_path / "run"), data={"pairs": str(tmp_path / "pairs.parquet")}, export="none",
        stages=only("autoencoder") | {"text": {"steps": 1}},
    )  # fmt: skip
    command = Command(config, said=tmp_path / "said", environment={"HF_HOME": str(tmp_path)})
    assert command.status() == 2 and "has no column “kind”" in command.errors[-1]
    assert not (tmp_path / "run" / "autoencoder").exists(), "it is said before the first stage"


# Broken pictures


@pytest.fixture
def broken_set(tmp_path):
    """Twenty rows in parquet, one of whose pictures is cut short."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_pairs((scene(i).pair() for i in range(20)), tmp_path / "pairs.parquet")
    table = pq.read_table(tmp_path / "pairs.parquet")
    pictures = table.column("edited_image").to_pylist()
    pictures[7]["bytes"] = pictures[7]["bytes"][:60]
    place = table.schema.get_field_index("edited_image")
    table = table.set_column(place, table.schema.field(place), pa.array(pictures, table.schema.field(place).type))
    pq.write_table(table, tmp_path / "pairs.parquet")
    return tmp_path / "pairs.parquet"


def test_a_pair_set_with_few_broken_rows_is_trained_without_them(edit_config, broken_set, tmp_path):
    config = edit_config(data={"pairs": str(broken_set), "max_broken": 0.1, "workers": 1}, stage={"steps": 2, "cache": False})
    said = ended(config, said=tmp_path / "said", environment={"HF_HOME": str(tmp_path)}).out
    assert "row 7" in said and len(losses(tmp_path / "run")) == 2
    refused = Command(
        config, "data.max_broken=0.01", f"output={tmp_path}/other", said=tmp_path / "said", environment={"HF_HOME": str(tmp_path / "x")}
    )
    assert refused.status() == 2 and "rows are broken" in refused.errors[-1]


def test_validation_passes_over_broken_rows_of_its_split(broken_set, tmp_path):
    """Which nobody has checked, since it is not trained on."""
    said = []
    config = write_config(
        tmp_path / "split.yaml", output=str(tmp_path), data={"pairs": str(broken_set)}, validation={"split": "train", "rows": 5}
    )
    shown = Rows(load(config), said.append).shown
    assert [pair.edit_prompt for pair in shown] == [scene(i).instruction for i in (0, 3, 10, 14, 1)]
    assert len(said) == 1 and "row 7" in said[0]


@pytest.mark.parametrize("workers", (0, 1))
def test_a_picture_that_vanishes_while_training_is_a_sentence(workers, tmp_path):
    for i in range(3):
        scene(i).pair().original_image.save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    config = write_config(
        tmp_path / "ae.yaml", output=str(tmp_path / "run"), data={"pairs": "", "pictures": str(tmp_path), "workers": workers},
        validation={"every": 0}, stages=only("autoencoder"),
    )  # fmt: skip
    command = Command(config, said=tmp_path / "said")
    assert command.status() == 2
    (line,) = command.errors
    assert "1.png" in line and "Traceback" not in line


def test_an_autoencoder_is_trained_on_a_folder_of_pictures(tmp_path):
    """Those with an allowed licence, but for those held out, on which it is validated."""
    for i in range(5):
        scene(i).pair().original_image.save(tmp_path / f"{i}.png")
    (tmp_path / "licences.csv").write_text("file,licence\n0.png,CC0\n1.png,CC0\n2.png,unknown\n3.png,CC0\n")
    given = {"pairs": "", "pictures": str(tmp_path), "licences": str(tmp_path / "licences.csv"), "allow": ["CC0"], "hold_out": ["3"]}
    assert [path.name for path in data.Folder(DataConfig(**given)).paths] == ["0.png", "1.png"]
    config = write_config(tmp_path / "ae.yaml", output=str(tmp_path / "run"), data=given, stages=only("autoencoder", steps=4))
    assert "over 1 pictures" in ended(config, said=tmp_path / "said").out
    vae = Networks.read(tmp_path / "run/autoencoder/model").vae
    assert vae.config.norm_num_groups == 8 and 0 < vae.config.scaling_factor != 0.18215


def test_a_decoder_trained_alone_leaves_the_latents_as_they_are(tmp_path):
    one_step = {"steps": 2, "batch_size": 2, "size": 32, "learning_rate": 1e-3, "ema": 0.5}
    stages = {
        "autoencoder": one_step,
        "text_to_image": None,
        "edit": None,
        "sharper": {**one_step, "kind": "autoencoder", "decoder_only": True},
    }
    config = write_config(tmp_path / "ae.yaml", output=str(tmp_path / "run"), validation={"every": 0}, stages=stages)
    ended(config, said=tmp_path / "said")
    before, after = (Networks.read(tmp_path / "run" / stage / "model").vae for stage in ("autoencoder", "sharper"))
    assert before.config.scaling_factor == after.config.scaling_factor
    own, others = before.state_dict(), after.state_dict()
    changed = {key.split(".")[0] for key in own if not torch.equal(own[key], others[key])}
    assert changed == {"decoder", "post_quant_conv"}
