"""What every scorer needs: pictures as its network takes them, vectors of length 1, and how near two of them are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from einops import rearrange
from PIL import Image

AT_ONCE = 16  # pictures in one pass
NO_CHANGE = 1e-4  # two vectors of length 1 that are nearer than this are one, computed in batches of other sizes


def unit(x: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """`x` scaled to length 1 over `dim`; zero stays zero."""
    return x / x.norm(dim=dim, keepdim=True).clamp_min(1e-10)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """In [−1, 1]; 0 when either is zero."""
    return float((unit(a.double().flatten()) * unit(b.double().flatten())).sum())


def directional_similarity(before: torch.Tensor, after: torch.Tensor, words_before: torch.Tensor, words_after: torch.Tensor) -> float:
    """Cosine of the pictures' change and the captions' change, all in one space (StyleGAN-NADA, arXiv 2108.00946, sec. 4.1, whose
    loss is 1 minus this; InstructPix2Pix, sec. 4). 0 for a picture or a caption that does not change."""
    if float((after - before).norm()) < NO_CHANGE:
        return 0.0
    return cosine(after - before, words_after - words_before)


def encoded_in_batches(items: Sequence, encode: Callable[[Sequence], torch.Tensor], size: int = AT_ONCE) -> torch.Tensor:
    """`encode` of `size` items at a time → (n, width) of length 1, in float32 on the CPU."""
    return unit(torch.cat([encode(items[i : i + size]).float().cpu() for i in range(0, len(items), size)]))


def normalised(images: Sequence[Image.Image], mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """images: of one size → (n, 3, h, w), (x − mean) / std of pixels in [0, 1]."""
    pixels: np.ndarray = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images]) / np.float32(255)
    pixels = (pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return rearrange(torch.from_numpy(pixels), "n h w c -> n c h w").contiguous()


def centre_square(image: Image.Image, side: int) -> Image.Image:
    """The picture's middle square at `side` px, as CLIP reads pictures."""
    scale = side / min(image.size)
    image = image.resize((max(round(image.width * scale), side), max(round(image.height * scale), side)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def squeezed(images: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """The whole pictures, squeezed to squares of `side` px."""
    return [image.resize((side, side), Image.Resampling.BICUBIC) for image in images]
