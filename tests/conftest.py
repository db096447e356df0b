import os
import tempfile

from hypothesis import settings

# What `datasets` and the checks of pair sets keep is of no use after the tests.
cache = tempfile.TemporaryDirectory(prefix="ip2p-tests-")
os.environ["HF_DATASETS_CACHE"] = cache.name

# A busy machine is no failure.
settings.register_profile("tests", deadline=None, max_examples=100)
settings.load_profile("tests")
