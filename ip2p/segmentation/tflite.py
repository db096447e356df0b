"""Networks of MediaPipe's wheel, run by LiteRT without importing it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..errors import EditError

INSTALL = "pip install 'sd-webui-instruct-edit[faces]'; pip install --no-deps mediapipe==0.10.21"


def missing_networks(what: str) -> str:
    """A sentence where the networks or what runs them is not installed; what: begins it."""
    there = find_spec("ai_edge_litert") and folder()
    return "" if there else f"{what} needs LiteRT and MediaPipe's networks: {INSTALL}."


def folder() -> Path | None:
    """Where the networks are, None where they are not: releases of mediapipe from 1.0 on carry none."""
    package = find_spec("mediapipe")
    places = [Path(place) / "modules" for place in package.submodule_search_locations or ()] if package else []
    return next((place for place in places if any(place.glob("face_landmark/*.tflite"))), None)


@cache
def network(file: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """file: below `folder` → takes a picture, (h, w, 3) float32, and gives its outputs in their order. Raises EditError."""
    place = folder()
    if reason := missing_networks("This region") or place is None:
        raise EditError(str(reason))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(place / file), num_threads=1)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    outputs = interpreter.get_output_details()
    alone = threading.Lock()

    def run(picture: np.ndarray) -> list[np.ndarray]:
        with alone:
            interpreter.set_tensor(given["index"], np.ascontiguousarray(picture[None], np.float32))
            interpreter.invoke()
            return [interpreter.get_tensor(output["index"]).copy() for output in outputs]

    return run
