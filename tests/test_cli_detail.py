"""python -m ip2p detail: what it takes, what it refuses, and what it writes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the autoencoder of these tests needs diffusers and transformers (pip install -e '.[edit]')")

from ip2p.__main__ import main
from ip2p.images import infotext_in, save_picture
from test_cli import refusal

EXAMPLES = Path(__file__).resolve().parents[1] / "ip2p" / "examples"

pytestmark = pytest.mark.usefixtures("one_thread_and_no_hub")


@pytest.fixture
def files(tmp_path):
    """A photograph of 300x200 with stripes of a pixel, and the same at 150x100, warmer, with a wide stripe less."""
    rows, columns = np.mgrid[:200, :300]
    pixels = np.stack([rows * 0.4 + 60 + columns % 2 * 40, columns * 0.3 + 60 + columns % 2 * 40, rows * 0 + 100], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    photo, result = tmp_path / "photo.png", tmp_path / "result.png"
    Image.fromarray(pixels).save(photo, exif=exif)
    small = np.asarray(Image.fromarray(pixels).resize((150, 100), Image.Resampling.LANCZOS)) * (1.2, 1.0, 0.6)
    save_picture(Image.fromarray(small.astype(np.uint8)), result, infotext="make it warmer\nSeed: 7")
    return photo, result


def detail(*argv) -> int:
    return main(["detail", *map(str, argv)])


@pytest.mark.parametrize("suffix", ("png", "jpg", "webp"))
def test_the_result_gets_the_photograph_s_size_and_detail(files, tmp_path, capsys, suffix):
    photo, result = files
    out = tmp_path / f"full.{suffix}"
    assert detail(photo, result, "--output", out, "--model", "none") == 0
    assert capsys.readouterr().out.strip() == str(out)
    full, expected = Image.open(out).convert("RGB"), np.asarray(Image.open(photo)) * (1.2, 1.0, 0.6)
    assert full.size == (300, 200) and np.abs(np.asarray(full) - expected).mean() < (10 if suffix == "webp" else 6)  # WebP halves colours
    assert infotext_in(out) == "make it warmer\nSeed: 7" and Image.open(out).getexif()[0x010F] == "Maker"


def test_the_photograph_s_stripes_are_in_it_and_without_strength_they_are_not(files, tmp_path):
    photo, result = files
    stripes = []
    for strength in (0, 0.5, 1):
        out = tmp_path / f"{strength}.png"
        assert detail(photo, result, "--output", out, "--model", "none", "--strength", strength) == 0
        stripes.append(np.abs(np.diff(np.asarray(Image.open(out), float)[..., 1], axis=1)).mean())
    assert stripes[0] < 3 and 15 < stripes[1] < 25 and stripes[2] > 35, stripes


def test_the_small_checkpoint_s_autoencoder_stands_in_for_the_one_that_made_it(tmp_path):
    """A photograph and itself through that autoencoder, of a size that is no multiple of 8: nothing was edited, so the photograph comes back."""
    from ip2p.cli.detail import decoded_at
    from ip2p.images import read_image

    photograph = read_image(EXAMPLES / "chelsea.jpg")
    photograph.save(tmp_path / "photo.png")
    levels = decoded_at(photograph, (221, 147), "small")
    assert levels.shape == (147, 221, 3)
    Image.fromarray((levels + 0.5).astype(np.uint8)).save(tmp_path / "result.png")
    assert detail(tmp_path / "photo.png", tmp_path / "result.png", "--output", tmp_path / "full.png") == 0
    error = np.asarray(Image.open(tmp_path / "full.png"), float) - np.asarray(photograph)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 38


def test_what_is_there_stays_unless_forced(files, tmp_path, capsys):
    photo, result = files
    out = tmp_path / "full.png"
    out.write_bytes(b"mine")
    arguments = [photo, result, "--output", out, "--model", "none"]
    assert "exists already" in refusal(capsys, "detail", *arguments) and out.read_bytes() == b"mine"
    assert detail(*arguments, "--force") == 0 and Image.open(out).size == (300, 200)


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"result": (150, 80)}, "The result is 150x80 and the photograph 300x200, another aspect"),
        ({"result": (150, 104)}, "crop the photograph in the same way first"),
        ({"result": (6, 4)}, "its sides must be between 8 and 4096"),
        ({"output": "full.gif"}, "PNG, JPEG or WebP"),
        ({"output": "photo.png"}, "The output is the source itself"),
        ({"output": "result.png"}, "The output is the source itself"),
        ({"output": "photo.png/full.png"}, "could not be written"),
        ({"--strength": "1.2"}, "between 0 and 1, not 1.2"),
        ({"--model": "nowhere.safetensors"}, "nowhere.safetensors"),
    ],
    ids=str,
)
def test_what_can_not_be_done_is_one_line_and_writes_nothing(files, tmp_path, capsys, changed, said):
    photo, result = files
    if size := changed.get("result"):
        Image.new("RGB", size).save(result)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    options = {"--model": "none", "--strength": "1", **{name: value for name, value in changed.items() if name.startswith("--")}}
    arguments = [part for option in options.items() for part in option]
    assert said in refusal(capsys, "detail", photo, result, "--output", tmp_path / changed.get("output", "full.png"), "--force", *arguments)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
