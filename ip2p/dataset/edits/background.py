"""Edits of the background. mask: (h, w) in [0, 1], 1 is the subject, which keeps its pixels."""

from __future__ import annotations

import numpy as np

from ...filters import Array, Colour, blur, height, toned, unit
from .painting import pencil
from .scenery import without_subject
from .tone import black_and_white
from .weather import night, winter


def background_grey(image: Array, mask: Array) -> Array:
    return black_and_white(image)


def background_blur(image: Array, mask: Array) -> Array:
    return blur(without_subject(image, mask), 8 * unit(image))


def background_night(image: Array, mask: Array) -> Array:
    return night(without_subject(image, mask)) * 0.8


def background_colour(image: Array, mask: Array, colour: Colour) -> Array:
    return np.broadcast_to(np.array(colour, np.float32), image.shape)


def background_sunset(image: Array, mask: Array) -> Array:
    return toned(height(image), (0.22, 0.14, 0.42), (0.70, 0.26, 0.44), (0.98, 0.50, 0.24), (1.0, 0.82, 0.42), (0.62, 0.28, 0.20))


def background_snow(image: Array, mask: Array) -> Array:
    return winter(without_subject(image, mask))


def background_sketch(image: Array, mask: Array) -> Array:
    return pencil(image)
