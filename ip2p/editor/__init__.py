"""The standalone editor: picture and instruction → picture, without the WebUI."""

from .editor import Editor
from .jobs import Interrupted, Result
from .model import DTYPES, DiffusionModel
from .run import OUT_OF_MEMORY, Run
from .samplers import AUTOMATIC, DRAWING, SAMPLERS, SCHEDULES, TRAINED, check_editor_can, timesteps_of

__all__ = [
    "AUTOMATIC", "DRAWING", "DTYPES", "OUT_OF_MEMORY", "SAMPLERS", "SCHEDULES", "TRAINED", "DiffusionModel", "Editor", "Interrupted", "Result", "Run",
    "check_editor_can", "timesteps_of",
]  # fmt: skip
