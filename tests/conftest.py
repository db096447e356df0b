import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

# What `datasets` and the checks of pair sets keep is of no use after the tests.
cache = tempfile.TemporaryDirectory(prefix="ip2p-tests-")
os.environ["HF_DATASETS_CACHE"] = cache.name

# A busy machine is no failure.
settings.register_profile("tests", deadline=None, max_examples=100)
settings.load_profile("tests")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items):
    """Of several processes (`-n`), one has all tests of the WebUI that they share, one those in a browser with a WebUI of their own, one
    all of the finished training; the others are dealt out a file at a time."""
    for item in items:
        shared = [name for name in ("chromium", "running_webui", "trained") if name in item.fixturenames]
        item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.path.name))


@pytest.fixture(scope="session")
def chromium():
    from host.browser import chromium_running

    with chromium_running() as browser:
        yield browser


# A finished training


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a finished run of all three stages, nobody having stopped it; exported with both kinds of weights."""
    pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")
    from training_runs import ended, write_config

    folder = tmp_path_factory.mktemp("trained")
    ended(write_config(folder / "tiny.yaml"), f"output={folder}/run", "export=both", "tensorboard=true", said=folder / "said")
    return folder / "run"


@pytest.fixture(scope="session")
def edited(trained, tmp_path_factory):
    """The folder of a finished run of the edit stage alone, on the text-to-image model of the whole run."""
    from training_runs import ended, only, write_config

    folder = tmp_path_factory.mktemp("edited")
    start = {"start": str(trained / "text_to_image" / "model")}
    ended(write_config(folder / "edit.yaml", export="none", model=start, stages=only("edit")), f"output={folder}/run", said=folder / "said")
    return folder / "run"


@pytest.fixture(scope="module")
def networks(trained):
    """Those of the finished run, which no test may change."""
    from ip2p.training.networks import Networks

    return Networks.read(trained / "edit" / "model")


@pytest.fixture
def edit_config(trained, tmp_path):
    """Writes a configuration of the edit stage alone on the finished text-to-image model."""
    from training_runs import only, write_config

    def write(start: str | Path = trained / "text_to_image" / "model", stage: dict | None = None, **changes) -> Path:
        return write_config(
            tmp_path / "edit.yaml",
            **{"output": str(tmp_path / "run"), "export": "none", "model": {"start": str(start)}, **changes},
            stages=only("edit", **(stage or {})),
        )

    return write


# The editor


@pytest.fixture(scope="module")
def one_thread_and_no_hub():
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def editor():
    from tiny_model import tiny_editor

    return tiny_editor()


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    ImageDraw.Draw(image).ellipse((8, 16, 40, 56), fill=(200, 40, 90))
    return image


@pytest.fixture
def edit(picture):
    """Of `picture`, by an editor with networks as small as `tiny_editor`'s."""
    from ip2p.edit import Edit

    return Edit(
        image=picture, instruction="make it winter", negative_prompt="blurry", seed=7, steps=4, width=64, height=64, sampler_name="Euler"
    )


# An evaluation


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a tiny edit model."""
    from tiny_model import save_folder, tiny_editor

    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_folder(tiny_editor(), folder)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """The parquet of `captioned_pairs`."""
    from evaluation_cases import captioned_pairs
    from ip2p.dataset.parquet_writer import write_pairs

    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    write_pairs(captioned_pairs(), path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """The parquet of `edited_photos`."""
    from evaluation_cases import edited_photos
    from ip2p.dataset.parquet_writer import write_pairs

    path = tmp_path_factory.mktemp("photos") / "photos.parquet"
    write_pairs(edited_photos(), path)
    return path


@pytest.fixture
def oracle(monkeypatch):
    """Puts an oracle in the place of the loaded editor."""
    from evaluation_cases import Oracle
    from ip2p.editor import Editor

    def put(path, *args, **options):
        made = Oracle(path, *args, **options)
        monkeypatch.setattr(Editor, "load", lambda *_: made)
        return made

    return put


# A conversion


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A `diffusers_folder`, which no test may change."""
    from convert_cases import diffusers_folder

    return diffusers_folder(tmp_path_factory.mktemp("diffusers") / "model")


@pytest.fixture
def ldm_file(made, tmp_path):
    """`made` as a file, with its yaml and text encoder beside it."""
    from ip2p.checkpoints.convert import convert

    path = tmp_path / "ldm.safetensors"
    convert(made, path)
    return path


# Pair sets


@pytest.fixture
def own_cache(monkeypatch, tmp_path_factory):
    """What `datasets` keeps is this test's alone."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


# Instructions for captions


@pytest.fixture(scope="session")
def tuned(tmp_path_factory):
    """The folder of a tiny language model fine-tuned on `instruction_cases.ROWS`: most of its answers are instructions."""
    pytest.importorskip("rapidfuzz", reason="instructions need rapidfuzz (pip install -e '.[data]')")
    from instruction_cases import ROWS, save_tiny
    from ip2p.dataset.instructions.finetune import Tuning, finetune

    folder = tmp_path_factory.mktemp("language")
    tuning = Tuning(passes=40, rank=0, learning_rate=3e-3, batch=8)
    finetune(ROWS, str(save_tiny(folder / "tiny")), folder / "tuned", tuning, print)
    return folder / "tuned"
