"""The photograph's own detail carried over to a result: what is kept, what stays new, and what it costs."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the autoencoder of these tests needs diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("skimage", reason="the measures need scikit-image (pip install -e '.[photos]')")

from detail_cases import NAMES, case, ghost, objects, picture_of, psnr, ssim
from ip2p import detail
from ip2p.detail import transfer
from ip2p.errors import EditError

pytestmark = pytest.mark.usefixtures("one_thread_and_no_hub")

GROWTH = """
import sys
import numpy as np
from PIL import Image
from ip2p.detail import transfer

rng = np.random.default_rng(0)
photograph = Image.fromarray(rng.integers(0, 256, (3000, 4000, 3), np.uint8))
result = rng.uniform(0, 255, (384, 512, 3)).astype(np.float32)

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024

transfer(photograph.resize((64, 48)), result[::8, ::8], result[::8, ::8])
before = peak()
if sys.argv[1] == "transfer":
    transfer(photograph, result, result[::-1] * 0.5 + 60)
else:  # as results were enlarged before
    levels = [Image.fromarray(level).resize(photograph.size, Image.Resampling.LANCZOS) for level in np.moveaxis(result, 2, 0)]
    Image.fromarray((np.stack([np.asarray(level) for level in levels], -1).clip(0, 255) + 0.5).astype(np.uint8))
print(peak() - before)
"""


def pixels(picture) -> np.ndarray:
    return np.asarray(picture, np.int16)


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_is_edited_the_photograph_comes_back(name):
    one = case(name)
    assert psnr(one.carried(one.decoded), one.photograph) >= 38
    assert psnr(one.carried(one.decoded, 0), one.photograph) < 30, "the enlarged picture is not it"


def test_without_strength_the_result_is_enlarged():
    one = case("chelsea")
    result = 255 - one.decoded
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(one.photograph.size, Image.Resampling.LANCZOS)
        for plane in np.moveaxis(result, 2, 0)
    ]
    expected = picture_of(np.stack([np.asarray(plane) for plane in planes], -1))
    assert np.abs(pixels(one.carried(result, 0)) - pixels(expected)).max() <= 1


def test_half_the_strength_is_half_way():
    one = case("chelsea")
    result, _ = one.edited(lambda photograph: picture_of(np.asarray(photograph, float) * (0.6, 0.7, 0.8) + 40))
    nothing, half, whole = (pixels(one.carried(result, strength)) for strength in (0, 0.5, 1))
    assert np.abs(nothing - whole).max() > 20 and np.abs(2 * half - nothing - whole).max() <= 4


TONES = {
    "warm": lambda photograph: picture_of(np.asarray(photograph, float) * (1.1, 0.95, 0.75) + (5, 0, 0)),
    "black and white": lambda photograph: photograph.convert("L").convert("RGB"),
    "inverted": lambda photograph: Image.fromarray(255 - np.asarray(photograph)),
    "night": lambda photograph: picture_of(255 * (np.asarray(photograph) / 255) ** 1.8 * (0.5, 0.55, 0.8)),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tone", TONES)
def test_a_tone_of_the_whole_picture_is_carried_over(name, tone):
    one = case(name)
    result, truth = one.edited(TONES[tone])
    carried, enlarged = ssim(one.carried(result), truth), ssim(one.carried(result, 0), truth)
    assert carried >= 0.96 and carried >= enlarged + 0.2, (carried, enlarged)


def test_what_is_new_stays_new():
    differences, ghosts = [], []
    for name, filled, outline in objects():
        one = case(name)
        result, _ = one.edited(lambda photograph, filled=filled, outline=outline: Image.composite(filled, photograph, outline))
        carried, enlarged = one.carried(result), one.carried(result, 0)
        inside = cv2.erode(np.asarray(outline), np.ones((9, 9))) > 0
        differences.append(np.abs(pixels(carried) - pixels(enlarged))[inside].mean() / 255)
        ghosts.append(abs(ghost(carried, enlarged, one.photograph, inside)))
    assert np.mean(differences) <= 0.006 and max(differences) <= 0.016, differences
    assert np.mean(ghosts) <= 0.05 and max(ghosts) <= 0.15, ghosts


def test_a_ghost_is_told(monkeypatch):
    """The measure above sees what the confidence keeps away."""
    for confidence in ("sharpness", "familiarity"):
        monkeypatch.setattr(detail, confidence, lambda result, other, unit: np.ones(result.shape[:2], np.float32))
    ghosts = []
    for name, filled, outline in objects()[:6]:
        one = case(name)
        result, _ = one.edited(lambda photograph, filled=filled, outline=outline: Image.composite(filled, photograph, outline))
        inside = cv2.erode(np.asarray(outline), np.ones((9, 9))) > 0
        ghosts.append(ghost(one.carried(result), one.carried(result, 0), one.photograph, inside))
    assert np.mean(ghosts) > 0.06, ghosts


def test_structure_that_moved_does_no_harm():
    gains = []
    for name in NAMES:
        one = case(name)
        rng = np.random.default_rng(0)
        shifts = [cv2.GaussianBlur(rng.standard_normal(one.size[::-1]).astype(np.float32), (0, 0), 16) for _ in "xy"]
        scale = 1.5 / np.sqrt(np.mean(shifts[0] ** 2 + shifts[1] ** 2)) * one.photograph.width / one.size[0]  # 1.5 pixels of the result
        x, y = (cv2.resize(shift * scale, one.photograph.size) for shift in shifts)
        rows, columns = np.mgrid[: one.photograph.height, : one.photograph.width].astype(np.float32)

        def warped(photograph, x=x + columns, y=y + rows):
            return Image.fromarray(cv2.remap(np.asarray(photograph), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))

        result, truth = one.edited(warped)
        gains.append(ssim(one.carried(result), truth) - ssim(one.carried(result, 0), truth))
    assert np.mean(gains) >= -0.02, gains


@pytest.mark.parametrize("rows", (7, 100, 4000))
def test_strips_do_not_show(rows, monkeypatch):
    one = case("chelsea")
    result, _ = one.edited(TONES["night"])
    expected = one.carried(result)
    monkeypatch.setattr(detail, "STRIP", rows)
    seen = []
    carried = one.carried(result, on_rows=lambda done, of: seen.append((done, of)))
    assert np.abs(pixels(carried) - pixels(expected)).max() <= 1 and (pixels(carried) != pixels(expected)).mean() < 1e-3
    height = one.photograph.height
    assert seen == [(min(top + rows, height), height) for top in range(0, height, rows)]


@pytest.mark.parametrize("strength", (0, 1))
def test_outside_the_mask_the_photograph_stays_bit_for_bit(strength):
    one = case("coffee")
    levels = np.tile(np.linspace(-128, 384, one.photograph.width).clip(0, 255).astype(np.uint8), (one.photograph.height, 1))
    result = 255 - one.decoded
    carried, everywhere = one.carried(result, strength, mask=Image.fromarray(levels)), one.carried(result, strength)
    assert (pixels(carried)[levels == 0] == pixels(one.photograph)[levels == 0]).all()
    assert (pixels(carried)[levels == 255] == pixels(everywhere)[levels == 255]).all()
    between = (levels > 0) & (levels < 255)
    share = levels[between][:, None] / 255
    mixed = pixels(everywhere)[between] * share + pixels(one.photograph)[between] * (1 - share)
    assert np.abs(pixels(carried)[between] - mixed).max() <= 1.01


def test_it_may_be_stopped_between_strips():
    one = case("coffee")

    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.carried(one.decoded, on_rows=stop)


def test_a_single_colour_and_a_strip_of_pixels_are_no_division_by_zero():
    for size, small in (((1600, 100), (16, 256)), ((30, 20), (64, 96))):
        flat = np.full((*small, 3), 90.0, np.float32)
        out = transfer(Image.new("RGB", size, (200, 10, 0)), flat, flat)
        assert out.size == size and (pixels(out) == 90).all()


@pytest.mark.parametrize(
    "changed, said",
    [
        (dict(photograph=Image.new("RGB", (100, 60)).convert("RGBA")), "mode RGBA: convert it to RGB"),
        (dict(result=np.zeros((30, 50), np.float32)), r"the shape \(30, 50\)"),
        (dict(decoded=np.zeros((30, 49, 3), np.float32)), "bring the photograph to the result's size"),
        (
            dict(result=np.zeros((30, 54, 3), np.float32), decoded=np.zeros((30, 54, 3), np.float32)),
            "54x30 and the photograph 100x60, another aspect",
        ),
        (dict(strength=1.5), "between 0 and 1, not 1.5"),
        (dict(strength=float("nan")), "between 0 and 1, not nan"),
        (dict(mask=Image.new("L", (100, 61))), "mask is 100x61 in mode L, but the photograph is 100x60"),
        (dict(mask=Image.new("RGB", (100, 60))), "make it grey"),
    ],
)
def test_what_does_not_go_together_is_a_sentence(changed, said):
    given = dict(
        photograph=Image.new("RGB", (1000, 600)).resize((100, 60)),
        result=np.zeros((30, 50, 3), np.float32),
        decoded=np.zeros((30, 50, 3), np.float32),
    )
    transfer(**given)
    with pytest.raises(EditError, match=said):
        transfer(**{**given, **changed})


def test_without_opencv_it_says_what_to_install_and_enlarging_goes_on(monkeypatch):
    one = case("chelsea")
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert one.carried(one.decoded, 0).size == one.photograph.size
    with pytest.raises(EditError, match=r"pip install 'sd-webui-instruct-edit\[edit\]'"):
        one.carried(one.decoded)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_twelve_megapixels_take_less_memory_than_enlarging_took():
    grown = {
        way: float(subprocess.run([sys.executable, "-c", GROWTH, way], check=True, capture_output=True, text=True).stdout)
        for way in ("transfer", "enlarging")
    }
    assert grown["transfer"] < grown["enlarging"], grown
