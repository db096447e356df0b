"""Regions in the editor: outside them every pixel stays, and one is edited by itself at the model's own size."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from ip2p.editor import Interrupted
from ip2p.errors import EditError
from ip2p.images import read_image
from ip2p.where import Where
from portraits import ASTRONAUT

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]

MAX_FILTER = ImageFilter.MaxFilter(19)
FACES = (40, 50, 110, 130), (300, 90, 380, 150)


@pytest.fixture
def wide(picture) -> Image.Image:
    return picture.resize((480, 240), Image.Resampling.BICUBIC)


@pytest.fixture
def mask(wide) -> Image.Image:
    mask = Image.new("L", wide.size)
    for box in FACES:
        mask.paste(255, box)
    return mask


@pytest.fixture
def only(edit, wide, mask):
    """Both faces, edited by themselves."""
    return replace(edit, image=wide, mask=mask, region=Where(only=True), result="full", width=None, height=None, longest_side=64, steps=2)


def changed(result, picture) -> np.ndarray:
    return (np.asarray(result.image) != np.asarray(picture)).any(-1)


@pytest.mark.parametrize("result", ("full", "own-size"))
@pytest.mark.parametrize(
    "where",
    (Where(), Where(feather=0, grow=9), Where(invert=True), Where(only=True), Where(only=True, number=2)),
    ids=lambda where: where.text,
)
def test_outside_a_region_every_pixel_stays(editor, only, wide, mask, where, result):
    (made,) = editor.edit(replace(only, region=where, result=result, crop=False))
    white = np.asarray(mask) > 0
    allowed = {"painted; grow 9": np.asarray(mask.filter(MAX_FILTER)) > 0, "painted; inverted": ~white}.get(
        where.text.replace("; feather 0", ""), white
    )
    assert made.image.size == wide.size
    assert not changed(made, wide)[~allowed].any() and changed(made, wide)[allowed].mean() > 0.3
    assert f"Instruct edit region: {where.text}" in made.infotext


def test_only_the_region_is_given_to_the_network_and_each_part_has_a_seed_of_its_own(editor, only, wide):
    (both,) = editor.edit(only)
    (first,) = editor.edit(replace(only, region=Where(only=True, number=1)))
    (second,) = editor.edit(replace(only, region=Where(only=True, number=2), image=first.image, seed=only.seed + 1))
    assert (np.asarray(both.image) == np.asarray(second.image)).all() and both.seed == only.seed
    assert not changed(first, wide)[:, 240:].any()


def test_parts_of_several_results_and_lines_follow_one_another(editor, only):
    results = editor.edit(replace(only, instruction="make it winter\nadd a hat", count=2))
    assert [(result.infotext.splitlines()[0], result.seed) for result in results] == [
        ("make it winter", 7), ("make it winter", 8), ("add a hat", 7), ("add a hat", 8),
    ]  # fmt: skip
    (alone,) = editor.edit(replace(only, seed=8))
    assert np.abs(np.asarray(results[1].image, int) - np.asarray(alone.image)).max() <= 1


def test_the_part_at_working_size_is_shown_by_itself(editor, only):
    (result,) = editor.edit(replace(only, region=Where(only=True, number=1), result="working"))
    assert max(result.image.size) == 64
    with pytest.raises(EditError, match="ask for “full”"):
        editor.edit(replace(only, result="working"))


def test_only_the_region_asks_for_a_full_result_where_nobody_says_otherwise(only):
    assert replace(only, result=None).result == "full"
    assert replace(only, result=None, region=Where()).result == "working"


def test_a_stopped_edit_shows_no_picture_with_half_of_its_parts_done(editor, only):
    with pytest.raises(Interrupted) as stopped:
        editor.edit(only, on_step=lambda step, total, latents: step < 3)
    assert stopped.value.results == []


def test_a_contact_sheet_of_several_parts_is_refused(editor, only):
    from ip2p.edit import sheet_over_seeds

    with pytest.raises(EditError, match="choose one by its number"):
        editor.edit(replace(only, variants=sheet_over_seeds(7.5, 1.5, 0, 2), result="full"))


def test_the_seam_of_a_feathered_region_is_no_edge(editor, only, wide, mask):
    """The result differs from the photograph by little next to the outline and by more inside."""
    (made,) = editor.edit(replace(only, region=Where(only=True, number=1, feather=16)))
    difference = np.abs(np.asarray(made.image, float) - np.asarray(wide)).mean(-1)
    left, top, right, bottom = FACES[0]
    assert difference[top:bottom, left : left + 2].mean() < 0.2 * difference[top + 25 : bottom - 25, left + 25 : right - 25].mean()


def test_the_command_line_edits_only_a_region(monkeypatch, tmp_path, editor, wide, mask):
    from ip2p.__main__ import main
    from ip2p.editor import Editor

    monkeypatch.setattr(Editor, "load", lambda *args, **named: editor)
    wide.save(tmp_path / "photo.png")
    mask.save(tmp_path / "mask.png")
    command = ["edit", str(tmp_path / "photo.png"), "make it winter", "--steps", "2", "--size", "64", "--output", str(tmp_path / "out.png")]
    assert main([*command, "--region", str(tmp_path / "mask.png"), "--only-region", "--feather", "3", "--grow", "-2"]) == 0
    result = read_image(tmp_path / "out.png")
    outside = np.asarray(mask) == 0
    assert (np.asarray(result)[outside] == np.asarray(wide)[outside]).all() and (np.asarray(result) != np.asarray(wide)).any()
    assert main(command) == 2, "what is there was made with other settings"


@pytest.mark.parametrize(
    "options, words",
    [
        (["--feather", "3"], "--region"),
        (["--region", "nose"], "no file and no name"),
        (["--region", "face", "--mask", "m.png"], "leave one of them out"),
        (["--region", "subject", "--margin", "1"], "--only-region"),
        (["--region", "subject", "--feather", "-3"], "feather"),
    ],
)
def test_the_command_line_refuses_a_region_in_one_sentence(tmp_path, wide, capsys, options, words):
    from ip2p.__main__ import main

    wide.save(tmp_path / "photo.png")
    assert main(["edit", str(tmp_path / "photo.png"), "x", "--output", str(tmp_path / "out.png"), *options]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1


def test_variations_are_a_result_each_from_one_seed(editor, only):
    words = "make it winter", "make it night", "add a hat"
    results = editor.edit(replace(only, instruction="", variations=words, seed=-1))
    assert [result.infotext.splitlines()[0] for result in results] == list(words) and len({result.seed for result in results}) == 1
    (alone,) = editor.edit(replace(only, instruction=words[1], seed=results[0].seed))
    assert np.abs(np.asarray(results[1].image, int) - np.asarray(alone.image)).max() <= 1
    for wrong in ({"count": 2}, {"variations": ("a",) * 65}):
        with pytest.raises(EditError, match="ariations"):
            replace(only, **{"variations": words, **wrong})


def test_a_preset_s_region_acts_on_the_command_line_and_every_choice_of_a_word_is_a_file(monkeypatch, tmp_path, editor, capsys):
    """The parser is a stand-in: its map of labels was drawn by hand."""
    from ip2p.__main__ import main
    from ip2p.editor import Editor
    from ip2p.presets import load
    from ip2p.segmentation import named
    from ip2p.segmentation.parsed_faces import ParsedFaces
    from portraits import HandMadeParser, by_hand

    monkeypatch.setattr(Editor, "load", lambda *args, **named: editor)
    monkeypatch.setattr(named, "PROVIDERS", [ParsedFaces(HandMadeParser())])
    command = [
        "edit",
        str(ASTRONAUT),
        "--preset",
        "hair-colour",
        "--variations",
        "whose",
        "--steps",
        "1",
        "--size",
        "64",
        "--output",
        str(tmp_path / "hair.png"),
    ]
    assert main(command) == 0
    words = load()["hair-colour"].choices["whose"]
    files = [tmp_path / f"hair-{word}.png" for word in words]
    outside, photograph = by_hand("hair") == 0, np.asarray(read_image(ASTRONAUT))
    for file in files:
        result = np.asarray(read_image(file))
        assert (result[outside] == photograph[outside]).mean() > 0.99 and (result != photograph).any()
    assert len({file.read_bytes() for file in files}) == len(files)
    assert main([*command, "--compare", "--output", str(tmp_path / "strip.png")]) == 0
    assert read_image(tmp_path / "strip.png").width > 4 * 64

    monkeypatch.setattr(named, "PROVIDERS", [])
    capsys.readouterr()
    assert main([*command[:-1], str(tmp_path / "x.png"), "--variations", "nothing"]) == 2
    assert "no choices for “nothing”" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    (["--mask"], ["--region"], ["--region", "--only-region"], ["--region", "--invert"], ["sky"], ["sky", "--only-region"]),
    ids=" ".join,
)
def test_at_12_megapixels_every_pixel_outside_stays_on_the_command_line(monkeypatch, tmp_path, editor, large, options):
    from ip2p.__main__ import main
    from ip2p.editor import Editor

    picture, mask, folder = large
    monkeypatch.setattr(Editor, "load", lambda *args, **named: editor)
    region = ["--region", "sky", *options[1:]] if options[0] == "sky" else [options[0], str(folder / "mask.png"), *options[1:]]
    command = ["edit", str(folder / "photo.png"), "make it winter", "--steps", "1", "--size", "64", "--result", "own-size"]
    assert main([*command, "--output", str(tmp_path / "out.png"), *region]) == 0
    result = np.asarray(read_image(tmp_path / "out.png"))
    different = (result != np.asarray(picture)).any(-1)
    outside = np.asarray(mask) == 0
    if options[0] == "sky":
        assert not different[2000:].any() and different[:1000].mean() > 0.5
    else:
        outside = ~outside if "--invert" in options else outside
        assert not different[outside].any() and different[~outside].mean() > 0.5


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> tuple:
    """A photograph of 12 megapixels with a sky, a mask of it, and the folder of both."""
    folder = tmp_path_factory.mktemp("large")
    ground = Image.open(ASTRONAUT).convert("RGB").resize((4000, 3000), Image.Resampling.BILINEAR)
    ground.paste((120, 170, 240), (0, 0, 4000, 1400))
    mask = Image.new("L", ground.size)
    mask.paste(255, (1000, 1600, 1500, 2000))
    ground.save(folder / "photo.png", compress_level=1)
    mask.save(folder / "mask.png")
    return ground, mask, folder
