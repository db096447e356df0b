"""Many pictures, one edit: nothing is edited twice or overwritten, a bad picture is named, all results come in one ZIP."""

from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image, ImageOps

from ip2p.batch import Batch, Outcome, Stamps, settings_of, sources_in, stems_of, zip_files
from ip2p.checkpoints.packaged import SMALL
from ip2p.edit import Edit
from ip2p.errors import EditError
from ip2p.images import exif_to_keep, infotext_in, read_image, settings_in
from ip2p.where import Where

COLOURS = ("red", "green", "blue")


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    files = [tmp_path / "in" / f"{colour}.png" for colour in COLOURS]
    files[0].parent.mkdir()
    for file, colour in zip(files, COLOURS):
        Image.new("RGB", (16, 16), colour).save(file)
    return files


@pytest.fixture
def edit() -> Edit:
    return Edit(Image.new("RGB", (16, 16)), "make it winter", seed=7)


class Inverting:
    """A stand-in for a network: it inverts every picture, and counts them. stop_at: at which it is stopped; skip_at: skipped."""

    def __init__(self, count: int = 1, stop_at: int | None = None, skip_at: int | None = None):
        self.count, self.stop_at, self.skip_at, self.edited, self.begun = count, stop_at, skip_at, 0, []

    def __call__(self, picture):
        self.edited += 1
        if self.edited in (self.stop_at, self.skip_at):
            return []
        return [(ImageOps.invert(picture), f"result {i}") for i in range(self.count)]

    def run(self, edit: Edit, files: list[Path], folder: Path, **options) -> Outcome:
        stems = stems_of([Path(file.name) for file in files])
        batch = Batch(files, stems, folder, Stamps(settings_of(edit), SMALL.name), self.count, **options)
        return batch.run(self, lambda: self.edited == self.stop_at, self.begun.append)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_what_is_finished_is_passed_over_and_nothing_is_overwritten(tmp_path, pictures, edit):
    network, out = Inverting(), tmp_path / "out"
    first = network.run(edit, pictures, out)
    assert first.sentence == "3 edited, 0 there already, 0 failed." and network.begun == [0, 1, 2]
    assert Image.open(out / "red.png").getpixel((0, 0)) == (0, 255, 255) and infotext_in(out / "red.png") == "result 0"
    again = network.run(edit, pictures, out)
    assert again.sentence == "0 edited, 3 there already, 0 failed." and network.edited == 3 and again.results == first.results
    Image.new("RGB", (16, 16), "white").save(pictures[1])
    other = network.run(edit, pictures, out)
    assert other.sentence == "1 edited, 2 there already, 0 failed."
    assert names(out) == ["blue.png", "green (2).png", "green.png", "red.png"]
    (out / "red.png").write_bytes(b"somebody's own")
    assert network.run(edit, pictures, out).sentence == "1 edited, 2 there already, 0 failed."
    assert (out / "red.png").read_bytes() == b"somebody's own" and (out / "red (2).png").is_file()


@pytest.mark.parametrize(
    "change",
    [{"instruction": "make it summer"}, {"text_scale": 8.0}, {"detail": 0.5}, {"region": Where("instruction")}, {"styles": ("a",)}],
    ids=str,
)
def test_with_other_settings_it_is_another_result(tmp_path, pictures, edit, change):
    network = Inverting()
    network.run(edit, pictures[:1], tmp_path / "out")
    assert network.run(replace(edit, **change), pictures[:1], tmp_path / "out").edited == 1
    assert names(tmp_path / "out") == ["red (2).png", "red.png"]


def test_several_results_of_a_picture_are_finished_together(tmp_path, pictures, edit):
    network, out = Inverting(count=2), tmp_path / "out"
    network.run(edit, pictures[:1], out, suffix=".jpg")
    assert names(out) == ["red-1.jpg", "red-2.jpg"]
    (out / "red-2.jpg").unlink()
    assert network.run(edit, pictures[:1], out, suffix=".jpg").edited == 1 and names(out) == ["red-1.jpg", "red-2.jpg"]


def test_a_bad_picture_is_named_and_passed_over(tmp_path, pictures, edit):
    pictures[1].write_bytes(pictures[1].read_bytes()[:40])
    outcome = Inverting().run(edit, pictures, tmp_path / "out")
    assert outcome.sentence == "2 edited, 0 there already, 1 failed."
    ((name, reason),) = outcome.failed
    assert name == "green.png" and reason.startswith("The picture can't be read")


def test_a_stopped_batch_keeps_what_is_finished_and_goes_on_there(tmp_path, pictures, edit):
    out = tmp_path / "out"
    outcome = Inverting(stop_at=2).run(edit, pictures, out)
    assert outcome.stopped and outcome.sentence == "1 edited, 0 there already, 0 failed, 2 left." and names(out) == ["red.png"]
    assert Inverting().run(edit, pictures, out).sentence == "2 edited, 1 there already, 0 failed."


def test_a_skipped_picture_is_not_taken_for_finished(tmp_path, pictures, edit):
    outcome = Inverting(skip_at=2).run(edit, pictures, tmp_path / "out")
    assert outcome.failed == [("green.png", "skipped")] and not outcome.stopped and outcome.edited == 2


@pytest.mark.parametrize("metadata", [True, False])
def test_the_photograph_s_date_and_camera_stay_where_that_is_wanted(tmp_path, edit, metadata):
    exif = Image.Exif()
    exif[0x010F] = "a camera's maker"
    Image.new("RGB", (16, 16)).save(tmp_path / "photo.jpg", exif=exif)
    (result,) = Inverting().run(edit, [tmp_path / "photo.jpg"], tmp_path / "out", metadata=metadata).results
    assert bool(exif_to_keep(read_image(result))) is metadata and settings_in(result)


def test_a_folder_s_pictures_are_those_that_are_no_results_of_its_own(tmp_path, pictures, edit):
    folder = pictures[0].parent
    (folder / "list.txt").write_text("no picture")
    (folder / "broken.jpg").write_bytes(b"no picture either")
    sources, others = sources_in(folder, folder / "edited")
    Inverting().run(edit, sources, folder / "edited")
    assert sources_in(folder, folder / "edited") == (sources, [(folder / "edited", "a folder"), *others])
    assert [path.name for path in sources] == ["blue.png", "broken.jpg", "green.png", "red.png"]
    assert [path.name for path, _ in others] == ["list.txt"]
    with pytest.raises(EditError, match="folder of the pictures itself"):
        sources_in(folder, folder)


def test_all_results_come_in_one_zip_which_replaces_the_one_before(tmp_path, pictures, edit):
    out, packed = tmp_path / "out", tmp_path / "results.zip"
    outcome = Inverting().run(edit, pictures, out)
    for files in (outcome.results[:1], outcome.results):
        zip_files(files, out, packed)
    with ZipFile(packed) as file:
        assert file.namelist() == ["red.png", "green.png", "blue.png"] and file.testzip() is None
        assert file.read("red.png") == (out / "red.png").read_bytes()
