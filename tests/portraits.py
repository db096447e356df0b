"""A portrait in the public domain with masks drawn by hand at its full size, and a stand-in for a face parser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ASTRONAUT = Path(__file__).resolve().parents[1] / "ip2p" / "examples" / "astronaut.jpg"
SMOOTH = 4
# x, y in pixels of the picture, drawn while looking at it enlarged eight to twenty times.
OUTLINES = {
    "lips": [[
        (202, 139), (210, 139.8), (216, 140), (220, 139.5), (224, 140.5), (228, 140), (234, 140.5), (240, 140), (247, 138.5), (243, 142.5),
        (239, 148), (235, 152), (231, 154.5), (225, 155.5), (218, 155), (212, 152.5), (208, 149.5), (205, 145.5), (203, 141),
    ]],
    "mouth": [[
        (203.5, 140), (206, 141), (209, 142), (213, 143), (217, 144), (221, 144.5), (226, 144.3), (231, 143.5), (236, 142), (240, 141),
        (244, 140.5), (242, 143), (238, 145.5), (235, 147), (232, 149), (226, 149.7), (220, 149.8), (215, 149), (211, 147), (208, 144.5), (205, 142),
    ]],
    "eyes": [
        [
            (194, 100.5), (197, 98.5), (200, 97.5), (203, 97), (206, 97.5), (209, 99), (211, 101.5), (213, 103.5), (210, 104.5), (206, 104.8),
            (202, 104.5), (198, 103.5), (195.5, 102),
        ], [
            (236, 104.5), (239, 102), (242, 100.8), (246, 99.8), (250, 100), (254, 101.2), (257, 102.8), (259, 104), (256, 105.3), (252, 106.2),
            (248, 106.5), (244, 106), (240, 105.5), (238, 105),
        ],
    ],
    "face": [[
        (186, 80), (198, 80), (215, 81), (232, 81.5), (245, 86), (265, 90), (268, 100), (271, 112), (271, 122), (268, 135), (266, 145), (262, 155),
        (256, 165), (248, 172), (238, 177), (226, 178.5), (214, 177), (204, 172), (196, 166), (189, 158), (184, 148), (182, 138), (181, 125),
        (180, 112), (182, 100), (184, 90),
    ]],
    "hair": [[
        (186, 80), (198, 80), (215, 81), (232, 81.5), (245, 86), (265, 90), (271, 122), (272, 132), (288, 120), (299, 100), (301, 80), (297, 60),
        (288, 44), (274, 32), (250, 24), (225, 22), (196, 28), (170, 44), (156, 62), (153, 80), (156, 102), (172, 120), (180, 112), (184, 90),
    ]],
    "clothes": [[
        (187, 180), (190, 184), (215, 187), (240, 190), (252, 184), (258, 176), (285, 195), (300, 215), (330, 240), (370, 270), (400, 330), (415, 420),
        (420, 511), (20, 511), (40, 420), (70, 330), (95, 270), (120, 235), (140, 200), (150, 160), (180, 152), (187, 165),
    ]],
}  # fmt: skip


def portrait() -> Image.Image:
    return Image.open(ASTRONAUT).convert("RGB")


def by_hand(name: str) -> np.ndarray:
    """(512, 512) in [0, 1]; lips without what is between them."""
    size = portrait().size
    mask = Image.new("L", (size[0] * SMOOTH, size[1] * SMOOTH))
    draw = ImageDraw.Draw(mask)
    for outline in OUTLINES[name]:
        draw.polygon([(x * SMOOTH, y * SMOOTH) for x, y in outline], fill=255)
    drawn = np.asarray(mask.resize(size, Image.Resampling.BOX), np.float32) / 255
    return np.minimum(drawn, 1 - by_hand("mouth")) if name == "lips" else drawn


def label_map() -> Image.Image:
    """What a face parser would answer, drawn by hand: a label of CelebAMask-HQ for every pixel, in mode L."""
    from ip2p.segmentation import parsed_faces as labels

    drawn = {"clothes": labels.CLOTHES, "hair": labels.HAIR, "face": labels.SKIN, "eyes": labels.LEFT_EYE, "lips": labels.UPPER_LIP}
    answer = np.zeros((512, 512), np.uint8)
    for name, label in drawn.items():
        answer[by_hand(name) > 0.5] = label
    return Image.fromarray(answer)


class HandMadeParser:
    """A stand-in for facexlib's face parser, whose weights can't be had here: it answers with a map of labels drawn by hand."""

    def missing(self) -> str:
        return ""

    def label_maps(self, image: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(label_map().resize(image.shape[1::-1], Image.Resampling.NEAREST))]
