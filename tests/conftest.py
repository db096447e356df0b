import os
import tempfile

import pytest
from hypothesis import settings

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
