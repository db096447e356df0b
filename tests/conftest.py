import os
import tempfile

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
    """Of several processes (`-n`), one has all tests of the WebUI that they share, the others a file at a time."""
    for item in items:
        group = "webui" if "running_webui" in item.fixturenames else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


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
