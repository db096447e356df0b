"""What detail.py is measured against: photographs with their decoded pictures, true edits, new objects, and the measures."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage.metrics import structural_similarity

from ip2p.detail import transfer
from ip2p.editor import Editor

EXAMPLES = Path(__file__).parents[1] / "ip2p" / "examples"
NAMES = ("astronaut", "chelsea", "coffee")
WORKING = 256  # longest side of a result; the photographs have 448 to 600
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Case:
    """photograph: RGB; decoded: (h, w, 3) in [0, 255], the photograph at working size through the small checkpoint's autoencoder."""

    photograph: Image.Image
    decoded: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Of a result, (width, height)."""
        return self.decoded.shape[1::-1]

    def edited(self, change) -> tuple[np.ndarray, Image.Image]:
        """change: RGB picture → the same, edited. → (a result of that edit as a network gives it, (h, w, 3); the truth at full size)"""
        truth = change(self.photograph)
        return through(truth.resize(self.size, Image.Resampling.LANCZOS)), truth

    def carried(self, result: np.ndarray, strength: float = 1.0, **options) -> Image.Image:
        return transfer(self.photograph, result, self.decoded, strength, **options)


@cache
def autoencoder() -> Editor:
    return Editor.load("small", "cpu")


@torch.inference_mode()
def through(picture: Image.Image) -> np.ndarray:
    """An RGB picture → (h, w, 3) in [0, 255], through the autoencoder."""
    editor = autoencoder()
    return editor.decode(editor.encode_picture(picture) * editor.vae.config.scaling_factor)


@cache
def case(name: str) -> Case:
    photograph = Image.open(EXAMPLES / f"{name}.jpg").convert("RGB")
    photograph = photograph.crop((0, 0, photograph.width // 8 * 8, photograph.height // 8 * 8))
    size = (WORKING, round(WORKING * photograph.height / photograph.width / 8) * 8)
    return Case(photograph, through(photograph.resize(size, Image.Resampling.LANCZOS)))


def picture_of(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray((pixels.clip(0, 255) + 0.5).astype(np.uint8))


def objects() -> list[tuple[str, Image.Image, Image.Image]]:
    """Twenty opaque things put into a photograph: (its name, what is put in, its outline: L, 255 inside), both of the photograph's size."""
    found = []
    for index in range(20):
        name = NAMES[index % 3]
        size = case(name).photograph.size
        outline = Image.new("L", size)
        centre = size[0] * (0.3 + 0.4 * (index % 4) / 3), size[1] * (0.35 + 0.3 * (index % 5) / 4)
        reach = min(size) * (0.14 + 0.03 * (index % 3))
        box = (centre[0] - reach * 1.2, centre[1] - reach, centre[0] + reach * 1.2, centre[1] + reach)
        draw = ImageDraw.Draw(outline)
        if index % 3:
            [draw.rectangle, draw.ellipse][index % 3 - 1](box, fill=255)
        else:
            draw.regular_polygon((*centre, reach * 1.2), 6, fill=255)
        if index % 4 == 0:  # one colour, as a hat or glasses
            filled = Image.new("RGB", size, [(200, 30, 40), (20, 20, 25), (240, 230, 90), (30, 90, 200), (245, 245, 245)][index // 4])
        elif index % 4 == 1:  # stripes
            rows = np.arange(size[1])[:, None] + np.arange(size[0])
            filled = Image.fromarray(np.where((rows // 10 % 2)[..., None], (250, 240, 220), (40, 60, 110)).astype(np.uint8))
        else:  # a part of another photograph, mirrored
            other = case(NAMES[(index + 1 + index % 2) % 3]).photograph.resize(size, Image.Resampling.LANCZOS)
            filled = other.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        found.append((name, filled, outline))
    return found


def luma(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.float32) @ LUMA / 255


def ssim(one: Image.Image, other: Image.Image) -> float:
    return structural_similarity(luma(one), luma(other), data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)


def psnr(one: Image.Image, other: Image.Image) -> float:
    return float(-10 * np.log10(np.mean((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2) / 255**2))


def fine(picture: Image.Image) -> np.ndarray:
    grey = luma(picture)
    return grey - cv2.GaussianBlur(grey, (0, 0), 4)


def ghost(out: Image.Image, enlarged: Image.Image, photograph: Image.Image, inside: np.ndarray) -> float:
    """The share of the photograph's fine contrast that shows through a new object: the slope of what the transfer added to the enlarged
    result, on the photograph, both high-passed, within the object. 0: none of it; 1: all of it, as where nothing is new."""
    added, old = (fine(out) - fine(enlarged))[inside], fine(photograph)[inside]
    return float((added * old).sum() / (old * old).sum())
