"""The standalone editor: picture and instruction → picture, without the WebUI."""

from .editor import Editor
from .jobs import Interrupted, Result
from .model import DTYPES, DiffusionModel
from .run import OUT_OF_MEMORY, Run
from .samplers import SAMPLERS, TRAINED, check_editor_can, timesteps_of

__all__ = [
    "DTYPES", "OUT_OF_MEMORY", "SAMPLERS", "TRAINED", "DiffusionModel", "Editor", "Interrupted", "Result", "Run", "check_editor_can", "timesteps_of",
]  # fmt: skip
