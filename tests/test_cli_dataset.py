"""python -m ip2p dataset: what is drawn, printed and returned."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("datasets", reason="tests of pair sets need datasets (pip install -e '.[train]')")
import numpy as np
from datasets import Image, Value
from PIL import Image as Pictures

from ip2p.__main__ import main
from ip2p.contact_sheet import font_of
from ip2p.dataset.open import open_pairs
from ip2p.dataset.pairs import Pair
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.dataset.view import GAP, SIDE, cell, wrapped
from pair_sets import jpeg, tree, write_original_layout, write_set

pytestmark = pytest.mark.usefixtures("own_cache")

COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "lime": (0, 255, 0)}


def of_colour(name: str, i: int = 0, **more) -> Pair:
    """Grey before, of this colour after."""
    after = Pictures.new("RGB", (60, 60), name)
    return Pair(Pictures.new("RGB", (60, 60), (i, i, i)), after, (f"make it {name}",), **more)


@pytest.fixture
def pairs(tmp_path) -> Path:
    path = tmp_path / "set.parquet"
    write_pairs((of_colour(list(COLOURS)[i % 4], i, extra={"split": "train" if i < 30 else "test"}) for i in range(40)), path)
    return path


def half_broken(path: Path) -> Path:
    rows = [jpeg(i) if i % 2 else b"no picture" for i in range(6)]
    return write_set(path, {"input_image": (rows, Image()), "edited_image": (rows, Image()), "edit_prompt": (["a"] * 6, Value("string"))})


def ran(capsys, *args) -> tuple[int, str, list[str]]:
    """Exit status, what was printed, and the lines on stderr that are no progress bar."""
    try:
        status = main(["dataset", *map(str, args)])
    except SystemExit as e:
        status = e.code
    out = capsys.readouterr()
    lines = [line.rpartition("\r")[2].strip() for line in out.err.split("\n")]
    return status, out.out, [line for line in lines if line and "%|" not in line]


def amount(picture: Pictures.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(-1).sum())


def test_a_sheet_shows_pictures_before_and_after_on_either_side_of_the_instruction(pairs, tmp_path, capsys):
    status, out, err = ran(capsys, "view", pairs, "--output", tmp_path / "sheet.png", "--count", 4)
    assert (status, err) == (0, []) and "4 of 40 pairs" in out
    sheet = Pictures.open(tmp_path / "sheet.png")
    for colour in COLOURS.values():
        assert amount(sheet, colour) == SIDE * SIDE
    after = sheet.crop((2 * GAP + 2 * (SIDE + GAP), GAP, 2 * GAP + 3 * SIDE + 2 * GAP, GAP + SIDE))
    assert amount(after, COLOURS["red"]) == SIDE * SIDE, "the first pair's picture after is on its right"
    before = sheet.crop((2 * GAP, GAP, 2 * GAP + SIDE, GAP + SIDE))
    assert amount(before, (0, 0, 0)) == SIDE * SIDE
    between = np.asarray(sheet.crop((2 * GAP + SIDE + GAP, GAP, 2 * GAP + 2 * SIDE, GAP + SIDE)).convert("L"))
    assert between.min() < 80 and between.mean() > 230, "black letters on white"


def test_count_seed_and_split_choose_what_is_shown(pairs, tmp_path, capsys):
    def grounds(*options) -> set[int]:
        status, *_ = ran(capsys, "view", pairs, "--output", tmp_path / "sheet.png", "--force", *options)
        assert status == 0
        sheet = np.asarray(Pictures.open(tmp_path / "sheet.png"))
        levels, counts = np.unique(sheet[(sheet[..., 0] == sheet[..., 1]) & (sheet[..., 1] == sheet[..., 2])][:, 0], return_counts=True)
        return {int(level) for level, count in zip(levels, counts) if count >= SIDE * SIDE and level < 40}

    assert grounds("--count", 5) == {0, 1, 2, 3, 4}
    first, again, other = grounds("--count", 5, "--seed", 1), grounds("--count", 5, "--seed", 1), grounds("--count", 5, "--seed", 2)
    assert first == again != other and len(first) == len(other) == 5
    assert grounds("--count", 3, "--split", "test") == {30, 31, 32}


def test_broken_pairs_are_passed_over_and_named(tmp_path, capsys):
    path = half_broken(tmp_path / "set.parquet")
    capsys.readouterr()
    status, out, err = ran(capsys, "view", path, "--output", tmp_path / "sheet.jpg")
    assert status == 0 and "3 of 6 pairs; 3 broken ones were passed over" in out
    assert [re.sub(".*(row .).*", r"\1", line) for line in err] == ["row 0", "row 2", "row 4"]
    assert Pictures.open(tmp_path / "sheet.jpg").format == "JPEG"


@pytest.mark.parametrize("text", ["make the sky look as though a storm were coming " * 20, "w" * 500, "short", "a\nb\tc"])
def test_long_instructions_are_wrapped_and_cut_with_an_ellipsis(text):
    lines, font = wrapped(text, 200, 15, 8), font_of(15)
    assert 1 <= len(lines) <= 8 and all(font.getlength(line) <= 200 for line in lines)
    said = "".join(lines).replace(" ", "")
    whole = "".join(text.split())
    assert said == whole or (said.endswith("…") and whole.startswith(said[:-1]))


def test_a_long_instruction_makes_its_cell_higher_but_no_wider():
    short, long = (
        of_colour("red"),
        Pair(*[Pictures.new("RGB", (200, 20))] * 2, ("on " * 200,), original_prompt="a " * 300, scores={"clip_sim_dir": 0.25}),
    )
    assert cell(short, 0).width == cell(long, 1).width and cell(long, 1).height > 150


def test_a_mask_is_a_veil_over_the_picture_before():
    mask = Pictures.new("L", (60, 60))
    mask.paste(255, (0, 0, 30, 60))
    drawn = cell(of_colour("blue", mask=mask), 0)
    left, right = drawn.getpixel((10, 100)), drawn.getpixel((SIDE - 10, 100))
    assert left[0] > 60 and right == (0, 0, 0)


def test_check_prints_the_broken_rows_and_ends_by_their_share(tmp_path, capsys):
    path = half_broken(tmp_path / "set.parquet")
    capsys.readouterr()
    status, out, err = ran(capsys, "check", path)
    assert status == 2 and out.count("set.parquet row ") == 3 and "3 of 6 rows are whole." in out
    assert len(err) == 1 and "3 of 6 rows are broken" in err[0]
    status, out, err = ran(capsys, "check", path, "--max-broken", 0.5)
    assert (status, err) == (0, []) and out.count("set.parquet row ") == 3


def test_convert_writes_parquet_and_the_original_layout(tmp_path, capsys):
    layout = write_original_layout(tmp_path / "layout")
    assert ran(capsys, "convert", layout, tmp_path / "set.parquet")[:2] == (0, f"Wrote {tmp_path / 'set.parquet'}: 6 pairs.\n")
    assert ran(capsys, "convert", tmp_path / "set.parquet", tmp_path / "again")[0] == 0
    again = tree(tmp_path / "again")
    assert again == {name: data for name, data in tree(layout).items() if name in again} and len(again) == 1 + 3 * 2 + 6 * 2
    status, _, err = ran(capsys, "convert", layout, tmp_path / "set.parquet")
    assert status == 2 and len(err) == 1 and "exists already" in err[0]
    assert ran(capsys, "convert", layout, tmp_path / "set.parquet", "--force", "--split", "train")[0] == 0
    assert len(open_pairs(tmp_path / "set.parquet")) == 3, "90 % of three prompts, rounded down, are two"


@pytest.mark.parametrize(
    "args, said",
    [
        (["view", "no.parquet", "--output", "a.png"], "There is no pair set no.parquet"),
        (["view", "SET", "--output", "sheet.gif"], "sheet.gif is not"),
        (["view", "SET", "--output", "a.png", "--count", "0"], "--count is between 1 and"),
        (["view", "SET", "--output", "a.png", "--split", "other"], "no split other"),
        (["check", "SET", "--max-broken", "2"], "--max-broken is a share between 0 and 1"),
        (["convert", "SET", "SET", "--force"], "the source itself"),
        (["draw"], "invalid choice"),
        ([], "required"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_told_in_one_line(args, said, pairs, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = pairs.read_bytes()
    status, _, err = ran(capsys, *[pairs if arg == "SET" else arg for arg in args])
    assert status == 2 and len(err) == 1 and said in err[0]
    assert pairs.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["set.parquet"]


@pytest.mark.parametrize("notes", [True, False], ids=["with a foreign file", "alone"])
def test_convert_never_replaces_the_folder_that_holds_its_source(tmp_path, capsys, notes):
    folder = tmp_path / "w"
    write_original_layout(folder)
    write_pairs([of_colour("red")], folder / "set.parquet")
    if notes:
        (folder / "notes.txt").write_text("mine")
    before = tree(folder)
    status, _, err = ran(capsys, "convert", folder / "set.parquet", folder, "--force")
    assert status == 2 and len(err) == 1 and "holds the source" in err[0] and tree(tmp_path) == {f"w/{k}": v for k, v in before.items()}


def test_without_datasets_the_extra_is_named(pairs, tmp_path):
    script = (
        "import sys; sys.modules['pyarrow'] = sys.modules['datasets'] = None; from ip2p.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", script, "dataset", "check", str(pairs)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "instruct-edit[train]'" in done.stderr and "Traceback" not in done.stderr
