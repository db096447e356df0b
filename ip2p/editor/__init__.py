"""The standalone editor: picture and instruction → picture, without the WebUI."""

from .editor import DTYPES, Editor
from .jobs import Interrupted, Result
from .run import OUT_OF_MEMORY, Run
from .samplers import SAMPLERS, TRAINED, check_editor_can

__all__ = ["DTYPES", "OUT_OF_MEMORY", "SAMPLERS", "TRAINED", "Editor", "Interrupted", "Result", "Run", "check_editor_can"]
