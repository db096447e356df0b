"""The configuration of a training run: what is refused, in which words, and what is kept beside the run."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

from ip2p.__main__ import main
from ip2p.cli.train import CONFIGS
from ip2p.errors import EditError
from ip2p.training.config import AUTOENCODER, EDIT, load, save
from ip2p.training.networks import check_shapes
from training_runs import only, write_config

RECIPES = sorted(CONFIGS.rglob("*.yaml"))


@pytest.fixture
def tiny(tmp_path):
    return write_config(tmp_path / "tiny.yaml", output=str(tmp_path / "run"))


def by_name(path: Path) -> str:
    return str(path.relative_to(CONFIGS).with_suffix(""))


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_the_configurations_of_the_package_are_ones_that_can_run(path, tmp_path):
    (tmp_path / "config.json").touch()  # of the model that one starts from
    config = load(path, [f"{key}={tmp_path}" for key in OmegaConf.missing_keys(OmegaConf.load(path))])
    if not config.model.start:
        check_shapes(config.model, config.export != "none")
    assert path.read_text(encoding="utf8").startswith("# "), "it says what it needs and how long it takes"


def test_the_original_recipe_is_exact():
    """InstructPix2Pix, appendix A.3, and the code's configs/train.yaml: 8 processes of 32, four times accumulated, are 1024."""
    (stage,) = load(CONFIGS / "paper.yaml").stages.values()
    assert stage.kind == EDIT
    assert 8 * stage.batch_size * stage.accumulate == 1024
    assert (stage.steps, stage.size, stage.resize, stage.flip) == (10_000, 256, [256, 288], 0.5)
    assert (stage.learning_rate, stage.warmup, stage.decay, stage.ema) == (1e-4, 0, "constant", 0.9999)
    assert (stage.betas, stage.weight_decay, stage.gradient_clip) == ([0.9, 0.999], 0.01, 0)
    assert (stage.drop_text, stage.drop_both, stage.drop_image) == (0.05, 0.05, 0.05)
    assert not stage.train_text and stage.weighting == "epsilon"


def test_text_and_image_are_dropped_by_default():
    """Left undropped, the two guidances would not be trained at all."""
    stage = load(CONFIGS / "paper.yaml").stages["edit"]
    assert "drop_" not in (CONFIGS / "paper.yaml").read_text() and stage.drop_text == stage.drop_both == stage.drop_image == 0.05


@pytest.mark.parametrize(
    "given, near",
    (
        ("stages.edit.batchsize=2", "stages.edit.batch_size"),
        ("stages.edti.steps=2", "stages.edit.steps"),
        ("steps=2", "stages.edit.steps"),
        ("data.pair=x", "data.pairs"),
        ("modle.start=x", "model.start"),
        ("precison=no", "precision"),
        ("validation.step=2", "validation.steps"),
        ("model.unet.channel=2", "model.unet.channels"),
    ),
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(tiny, given, near):
    with pytest.raises(
        EditError, match=f"no setting “{re.escape(given.partition('=')[0])}”.*nearest one is “{re.escape(near)}”"
    ) as refused:
        load(tiny, [given])
    assert "in the command" in str(refused.value)


def test_an_unknown_key_of_the_file_is_refused_too(tiny):
    tiny.write_text(tiny.read_text() + "see: 3\n")
    with pytest.raises(EditError, match=r"“see” \(in .*tiny\.yaml\): the nearest one is “seed”"):
        load(tiny)


@pytest.mark.parametrize(
    "change, words",
    (
        ("precision=fp8", "precision is “fp8”: choose no or fp16 or bf16 or auto"),
        ("export=all", "export is “all”"),
        ("evaluate=photos", "evaluate is “photos”"),
        ("device=gpu", "device is “gpu”"),
        ("stages.edit.decay=linear", "stages.edit.decay is “linear”"),
        ("stages.edit.kind=merge", "stages.edit.kind is “merge”: choose autoencoder or text or text_to_image or edit"),
        ("seed=-1", "seed is -1: it must be at least 0"),
        ("data.workers=100000", "data.workers is 100000: it must be at most 64"),
        ("threads=100000", "threads is 100000: it must be at most 1024"),
        ("output=${oc.env:HOME}", "output is “${oc.env:HOME}” (in the command): write the value itself"),
        ("validation.instructions=[winter,'make it ${oc.env:HOME}']", "validation.instructions is “make it ${oc.env:HOME}”"),
        ("log_every=0", "log_every is 0: it must be at least 1"),
        ("data.scenes=0", "data.scenes is 0"),
        ("stages.edit.batch_size=0", "stages.edit.batch_size is 0"),
        ("stages.edit.flip=2", "stages.edit.flip is 2.0: it must be between 0 and 1"),
        ("stages.edit.learning_rate=.nan", "stages.edit.learning_rate is nan"),
        ("stages.edit.drop_text=-0.1", "stages.edit.drop_text is -0.1"),
        ("stages.edit.drop_text=0.95", "drops more than every sample"),
        ("stages.edit.size=60", "a multiple of 8"),
        ("stages.edit.resize=[16,80]", "none below the size 32"),
        ("stages.edit.betas=[0.9]", "betas"),
        ("stages.edit.variants=0", "set stages.edit.variants"),
        ("model.start=somewhere", "trains an autoencoder from nothing, but model.start names a model"),
        ("model.vae.channels=[32,32]", "must have 4 levels"),
        ("stages.text_to_image.train_text=false", "stages.text_to_image.train_text is false, but its text encoder starts from nothing"),
        ("stages.autoencoder.decoder_only=true", "stages.autoencoder has no autoencoder whose decoder could be trained alone"),
        ("stages.autoencoder.kind=text", "stages.text_to_image has no autoencoder to train on"),
        ("validation.text_scale=500", "validation asks stages.edit for edits that can't be made: The text scale"),
        ("validation.instructions=[' ']", "The instruction is empty"),
        ("data.pairs=''", "data.pairs names no pair set"),
        ("stages.edit.steps=many", "wrong"),
        ("seed", "write key=value"),
        ("stages.edit.resize=[1", "can't be read"),
    ),
)
def test_a_value_no_run_can_have_is_a_sentence_and_nothing_is_written(tiny, change, words, capsys):
    assert main(["train", str(tiny), change]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert sorted(tiny.parent.iterdir()) == [tiny]


def test_a_secret_of_the_environment_never_gets_into_the_kept_configuration(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SECRET", "hunter2")
    config = write_config(tmp_path / "tiny.yaml", output=str(tmp_path / "run"), model={"start": "${oc.env:SECRET}"}, stages=only("edit"))
    assert main(["train", str(config)]) == 2
    said = capsys.readouterr().err
    assert "model.start is “${oc.env:SECRET}”" in said and "hunter2" not in said and not (tmp_path / "run").exists()


def test_a_precision_of_no_is_one(tmp_path):
    """Which yaml takes for false."""
    assert load(CONFIGS / "small.yaml", ["precision=no", "data.pairs=mine"]).precision == "no"
    text = (CONFIGS / "small.yaml").read_text(encoding="utf8")
    (tmp_path / "full.yaml").write_text(text.replace("precision: bf16", "precision: no"), encoding="utf8")
    assert load(tmp_path / "full.yaml", ["data.pairs=mine"]).precision == "no"


def test_settings_may_refer_to_each_other(tiny):
    assert load(tiny, ["stages.edit.warmup=${save_every}"]).stages["edit"].warmup == 3


@pytest.mark.parametrize("name", ("../../x", "/tmp/x", "..", ".hidden", "a\\b", "a:b", ""))
def test_a_stage_s_name_stays_within_the_run_s_folder(tmp_path, name, capsys):
    stages = only("autoencoder", steps=1) | {name: {"kind": "autoencoder", "steps": 1}}
    config = write_config(tmp_path / "in" / "tiny.yaml", output=str(tmp_path / "in" / "run"), stages=stages)
    assert main(["train", str(config)]) == 2
    assert "A stage can't be named" in capsys.readouterr().err and [path.name for path in tmp_path.rglob("*")] == ["in", "tiny.yaml"]


@pytest.mark.parametrize("content", ("", "- 1", "stages: 3", "stages: {}", "a: [", "stages: {edit: 3}"))
def test_a_file_that_is_no_configuration_is_a_sentence(tmp_path, content, capsys):
    (tmp_path / "bad.yaml").write_text(content)
    assert main(["train", str(tmp_path / "bad.yaml"), f"output={tmp_path}/run"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_setting_without_a_value_is_asked_for(tmp_path, capsys):
    assert main(["train", str(write_config(tmp_path / "tiny.yaml"))]) == 2
    assert "“output” has no value: give it one in" in capsys.readouterr().err


def test_a_configuration_that_is_not_there_is_a_sentence(capsys):
    assert main(["train", "no-such-recipe"]) == 2
    assert "no configuration no-such-recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, words",
    (
        ("model.unet.channels=[48,96]", "can't be built"),
        ("model.vae.groups=7", "can't be built"),
        ("model.text.heads=5", "can't be built"),
        ("model.unet.channels=[64,96]", "multiples of the first level"),
        ("model.vae.channels=[16,32,32,32]", "must be multiples of 32"),
    ),
)
def test_shapes_that_could_not_be_exported_are_refused_before_any_training(tiny, change, words, capsys):
    assert main(["train", str(tiny), change]) == 2
    assert words in capsys.readouterr().err and not (tiny.parent / "run").exists()


def test_the_resolved_configuration_is_kept_and_what_changed_is_named(tiny, tmp_path):
    assert save(load(tiny), tmp_path / "config.yaml") == []
    kept = load(tmp_path / "config.yaml")
    assert kept == load(tiny) and kept.stages["edit"].betas == [0.9, 0.999], "with every default"
    changed = save(load(tiny, ["seed=3", "stages.edit.learning_rate=2e-5"]), tmp_path / "config.yaml")
    assert changed == ["seed: 0 → 3", "stages.edit.learning_rate: 0.001 → 2e-05"]


def test_a_stage_that_is_gone_is_named(tiny, tmp_path):
    save(load(tiny), tmp_path / "config.yaml")
    config = load(tiny)
    del config.stages["edit"]
    assert "stages.edit.steps: 8 → nothing" in save(config, tmp_path / "config.yaml")


def test_a_stage_named_by_its_kind_is_of_that_kind(tiny):
    stages = load(tiny).stages
    assert {name: stage.kind for name, stage in stages.items()} == {name: name for name in stages} and AUTOENCODER in stages


def test_every_setting_can_be_given_in_the_command(tiny):
    config = load(tiny, ["data.hold_out=[cat,dog]", "stages.edit.accumulate=4", "stages.edit.resize=[64,80]", "half=false", "output=~/x"])
    assert config.data.hold_out == ["cat", "dog"] and config.stages["edit"].accumulate == 4 and not config.half
    assert config.output == str(Path("~/x").expanduser())
