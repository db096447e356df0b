"""Where an edit may act: a soft mask that knows where it comes from, its algebra, and the part of a picture that is edited by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .detail import opencv, smoothstep
from .errors import EditError
from .images import STEP, Box, mask_of

PAINTED, FROM_INSTRUCTION = "painted", "from the instruction"  # origins; the others are names
FEATHER = 0.06  # of the region's mean width, where no feather is asked for
MIN_REGION = 8  # pixels: what the network sees as one
MIN_PART = 64  # pixels a side of what is edited by itself: fewer show nothing to the network
MAX_PART_ASPECT = 2
MAX_PARTS = 16  # edited one after another
NEEDS = "Regions need OpenCV: install it with pip install 'sd-webui-instruct-edit[edit]'."
WHOLE = 0.999  # share of the picture from which on a region is all of it


@dataclass(frozen=True, eq=False)
class Region:
    """A soft mask over a picture: 1 is edited, 0 stays as it is, between them is a mixture.

    size: (width, height) of the picture; box: outside it the mask is 0; mask: (h, w) of the box, float32 in [0, 1]; origins: where it
    comes from, in order: PAINTED, FROM_INSTRUCTION or names such as “face”.
    """

    size: tuple[int, int]
    box: Box
    mask: np.ndarray
    origins: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, mask: np.ndarray | Image.Image, origin: str, size: tuple[int, int] | None = None, place: tuple[int, int] = (0, 0)
    ) -> Region:
        """mask: (h, w) in [0, 1], or a picture, read by the one rule for masks (`images.mask_of`); size: (width, height) of the picture it
        lies in, its own where left out; place: of its upper left corner there. What leaves the picture is cut off."""
        if isinstance(mask, Image.Image):
            mask = np.asarray(mask if mask.mode == "L" else mask_of(mask), np.float32) / 255
        h, w = mask.shape
        whole = Region(size or (w, h), (place[0], place[1], place[0] + w, place[1] + h), np.asarray(mask, np.float32).clip(0, 1), (origin,))
        return whole._trimmed()

    @property
    def is_empty(self) -> bool:
        return self.mask.size == 0

    @property
    def share(self) -> float:
        """Of the picture's area."""
        return float(self.mask.sum(dtype=np.float64)) / (self.size[0] * self.size[1])

    @property
    def is_whole(self) -> bool:
        return self.share > WHOLE

    def levels(self, box: Box | None = None) -> np.ndarray:
        """The mask within a box, by default the whole picture: (h, w) float32; a box may leave the picture."""
        box = box or (0, 0, *self.size)
        if box == self.box:
            return self.mask
        levels = np.zeros((box[3] - box[1], box[2] - box[0]), np.float32)
        left, top, right, bottom = common = intersection(box, self.box)
        if area(common):
            x, y = self.box[:2]
            levels[top - box[1] : bottom - box[1], left - box[0] : right - box[0]] = self.mask[top - y : bottom - y, left - x : right - x]
        return levels

    def picture(self, box: Box | None = None) -> Image.Image:
        """The mask within a box, by default the whole picture, in mode L: white is edited."""
        box = box or (0, 0, *self.size)
        picture = Image.new("L", (box[2] - box[0], box[3] - box[1]))
        picture.paste(Image.fromarray((self.mask * 255 + 0.5).astype(np.uint8)), (self.box[0] - box[0], self.box[1] - box[1]))
        return picture

    def at(self, size: tuple[int, int]) -> Region:
        """The same region of the picture at another size (width, height): a mask of another size brought to the picture's."""
        if size == self.size:
            return self
        mask = self.picture().resize(size, Image.Resampling.BILINEAR)
        return Region(size, (0, 0, *size), np.asarray(mask, np.float32) / 255, self.origins)._trimmed()

    def above(self, threshold: float) -> Region:
        """All of it where the mask reaches the threshold, and nothing elsewhere."""
        return self._with(self.box, (self.mask >= threshold).astype(np.float32))

    def grown(self, pixels: float) -> Region:
        """Reaching farther on every side by so many pixels, or less far where they are negative. The border of the picture is no edge."""
        if not pixels or self.is_empty:
            return self
        reach = math.ceil(max(pixels, 0)) + 1
        box = intersection(around(self.box, reach), (0, 0, *self.size))
        levels = self.levels(box)
        if pixels > 0:
            return self._with(box, np.maximum(levels, distance(levels < 0.5) <= pixels))
        return self._with(box, levels * (self._depth(box, 0.5) > -pixels))

    def feathered(self, pixels: float | None = None) -> Region:
        """Rising from 0 at its outline to all of it this many pixels inside, by default so many as suit its size; nothing is added outside."""
        pixels = FEATHER * self.width if pixels is None else pixels
        if pixels <= 0 or self.is_empty:
            return self
        return self._with(self.box, np.minimum(self.mask, smoothstep(self._depth(self.box), 0, pixels + 1)))

    def inverted(self) -> Region:
        return self._with((0, 0, *self.size), 1 - self.levels())

    def plus(self, other: Region) -> Region:
        """Either of the two. Raises EditError for regions of pictures of different sizes, as `minus` and `within` do."""
        box = self.box if other.is_empty else other.box if self.is_empty else union(self.box, other.box)
        return self._combined(other, box, np.maximum(self.levels(box), other.levels(box)))

    def minus(self, other: Region) -> Region:
        """The first without the second."""
        return self._combined(other, self.box, np.minimum(self.mask, 1 - other.levels(self.box)))

    def within(self, other: Region) -> Region:
        """Only where both are."""
        return self._combined(other, self.box, np.minimum(self.mask, other.levels(self.box)))

    @property
    def width(self) -> float:
        """About how wide it is, in pixels: the side of a square of its area."""
        return math.sqrt(float(self.mask.sum(dtype=np.float64)))

    def pieces(self, margin: float) -> list[Region]:
        """What of it lies apart, from left to right: pieces whose boxes meet, with their margins, are one. Specks smaller than what can be
        edited go with nothing where there is something larger."""
        if self.is_empty:
            return []
        count, labels, stats, _ = opencv(NEEDS).connectedComponentsWithStats((self.mask > 0).astype(np.uint8))
        boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist()]
        large = [i for i, box in enumerate(boxes) if min(box[2] - box[0], box[3] - box[1]) >= MIN_REGION]
        groups = grouped([(boxes[i], [i + 1]) for i in large or range(count - 1)], margin)
        pieces = []
        for box, members in groups:
            rows, columns = slice(box[1], box[3]), slice(box[0], box[2])
            mask = self.mask[rows, columns] * np.isin(labels[rows, columns], members)
            x, y = self.box[:2]
            pieces.append(self._with((x + box[0], y + box[1], x + box[2], y + box[3]), mask))
        return sorted(pieces, key=lambda piece: piece.box)

    def part(self, margin: float, longest_side: int, aspect: float | None = None) -> Box:
        """The box of the picture that is edited by itself: this region with its surroundings, in an aspect the network works at without
        padding, as far as the picture goes. margin: of its surroundings on each side, as a share of its longer side."""
        left, top, right, bottom = self.box
        extra = margin * max(right - left, bottom - top)
        least = min(MIN_PART, *self.size)
        width, height = (max(side + 2 * extra, least) for side in (right - left, bottom - top))
        ratios = [aspect] if aspect else aspects(longest_side)
        shapes = [(max(width, height * ratio), max(height, width / ratio)) for ratio in ratios]
        width, height = min(shapes, key=lambda shape: (min(shape[0], self.size[0]) * min(shape[1], self.size[1]), shape[0] * shape[1]))
        x = placed(left, right, width, self.size[0])
        y = placed(top, bottom, height, self.size[1])
        return x[0], y[0], x[1], y[1]

    def _depth(self, box: Box, inside: float = 0.0) -> np.ndarray:
        """Of every pixel of the box how far it is from the nearest that is not inside (mask ≤ `inside`); the picture's border is no edge."""
        outer = around(box, 1)
        inner = intersection(outer, (0, 0, *self.size))
        beyond = (inner[1] - outer[1], outer[3] - inner[3]), (inner[0] - outer[0], outer[2] - inner[2])
        levels = np.pad(self.levels(inner), beyond, mode="edge")
        return distance(levels > inside)[1:-1, 1:-1]

    def _combined(self, other: Region, box: Box, mask: np.ndarray) -> Region:
        if self.size != other.size:
            sizes = "{}x{}".format(*self.size), "{}x{}".format(*other.size)
            raise EditError(f"Two regions are of pictures of {sizes[0]} and {sizes[1]}: bring them to one size first.")
        return Region(self.size, box, mask, tuple(dict.fromkeys((*self.origins, *other.origins))))._trimmed()

    def _with(self, box: Box, mask: np.ndarray) -> Region:
        return Region(self.size, box, mask.astype(np.float32, copy=False), self.origins)._trimmed()

    def _trimmed(self) -> Region:
        """Its box as small as it can be, and within the picture."""
        box = intersection(self.box, (0, 0, *self.size))
        mask = self.levels(box) if area(box) else np.zeros((0, 0), np.float32)
        rows, columns = (np.flatnonzero((mask > 0).any(axis)) for axis in (1, 0))
        if not len(rows):
            return Region(self.size, (0, 0, 0, 0), np.zeros((0, 0), np.float32), self.origins)
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        x, y = box[:2]
        inner = (int(x + left), int(y + top), int(x + right), int(y + bottom))
        return Region(self.size, inner, mask[top:bottom, left:right], self.origins)


def distance(inside: np.ndarray) -> np.ndarray:
    """Of every pixel that is inside how far the nearest one is that is not: (h, w) float32, 0 outside."""
    cv2 = opencv(NEEDS)
    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def grouped(boxes: Sequence[tuple[Box, list[int]]], margin: float) -> list[tuple[Box, list[int]]]:
    """Boxes, each with the numbers of what is in it, joined until no two meet with their margins."""
    groups = list(boxes)
    joined = True
    while joined:
        joined = False
        for i, (one, members) in enumerate(groups):
            near = next((j for j in range(i + 1, len(groups)) if meet(one, groups[j][0], margin)), None)
            if near is not None:
                box, others = groups.pop(near)
                groups[i] = union(one, box), members + others
                joined = True
                break
    return groups


def meet(one: Box, other: Box, margin: float) -> bool:
    return area(intersection(widened(one, margin), widened(other, margin))) > 0


def widened(box: Box, margin: float) -> Box:
    return around(box, round(margin * max(box[2] - box[0], box[3] - box[1])))


def around(box: Box, pixels: int) -> Box:
    return box[0] - pixels, box[1] - pixels, box[2] + pixels, box[3] + pixels


def area(box: Box) -> int:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def union(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def intersection(one: Box, other: Box) -> Box:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def aspects(longest_side: int) -> list[float]:
    """Width / height of the sizes that the network works at without padding, from wide to narrow."""
    longest = max(longest_side // STEP, 1)
    ratios = [longest / short for short in range(math.ceil(longest / MAX_PART_ASPECT), longest + 1)]
    return sorted({*ratios, *(1 / ratio for ratio in ratios)}, reverse=True)


def placed(low: int, high: int, length: float, limit: int) -> tuple[int, int]:
    """From where to where a stretch of this length lies round low … high, moved and cut so that it is within 0 … limit."""
    length = min(max(math.ceil(length), high - low), limit)
    start = min(max(round((low + high - length) / 2), 0), limit - length)
    return start, start + length
