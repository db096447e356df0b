"""Broken rows of pair sets are named, counted and skipped, and a check is not repeated."""

from pathlib import Path

import pytest

pytest.importorskip("datasets", reason="tests of pair sets need datasets (pip install -e '.[train]')")
from datasets import Image, Value

from ip2p.dataset import check
from ip2p.dataset.check import check_pairs
from ip2p.dataset.conversion import convert
from ip2p.dataset.open import open_pairs
from ip2p.dataset.pairs import BrokenRow
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.errors import EditError
from pair_sets import a_pair, jpeg, picture, published, write_original_layout, write_set
from picture_files import black_png, saved

pytestmark = pytest.mark.usefixtures("own_cache")
TEXT = Value("string")


def broken_set(path: Path) -> Path:
    """Every odd row is broken, each otherwise."""
    whole, cut, huge = jpeg(1), jpeg(1, (300, 200))[:2000], black_png(8100)
    png_cut = saved(picture(3), "PNG")[:-60]
    rows = [
        (whole, whole, "a"), (cut, whole, "b"),
        (whole, jpeg(2, (96, 64)), "c"), (whole, png_cut, "d"),
        (whole, jpeg(2, (47, 32)), "e"), (whole, jpeg(2, (32, 32)), "f"),
        (whole, whole, "g"), (whole, whole, "  "),
        (whole, whole, "h"), (whole, whole, None),
        (whole, whole, "i"), (b"no picture", whole, "j"),
        (whole, whole, "k"), (None, whole, "l"),
        (whole, whole, "m"), (whole, huge, "n"),
        (whole, whole, "o"), (b"", whole, "p"),
    ]  # fmt: skip
    before, after, texts = zip(*rows)
    return write_set(
        path, {"input_image": (list(before), Image()), "edited_image": (list(after), Image()), "edit_prompt": (list(texts), TEXT)}
    )


REASONS = {
    1: "picture before can't be read: it is damaged", 3: "picture after can't be read: it is damaged",
    5: "picture before is 48x32 but the one after 32x32", 7: "the instruction is empty", 9: "the instruction is empty",
    11: "picture before can't be read", 13: "picture before is missing", 15: "8100x8100: at most 64 megapixels", 17: "picture before is missing",
}  # fmt: skip


def test_broken_rows_are_named_counted_and_skipped(tmp_path):
    pairs, told = open_pairs(broken_set(tmp_path / "set.parquet")), []
    assert check_pairs(pairs, 0.5, told.append) == list(range(0, 18, 2))
    for line, (row, reason) in zip(told, REASONS.items()):
        assert line.startswith(f"{tmp_path / 'set.parquet'} row {row}: ") and reason in line
    assert len(told) == 10 and told[-1] == "set.parquet: 9 of 18 rows are broken and skipped."


def test_a_row_that_was_not_checked_is_refused_all_the_same_when_it_is_read(tmp_path):
    pairs = open_pairs(broken_set(tmp_path / "set.parquet"))
    for i in range(18):
        if i in REASONS:
            with pytest.raises(BrokenRow, match=REASONS[i]):
                pairs[i]
        else:
            assert pairs[i].edit_prompt


def test_broken_rows_are_left_out_of_a_conversion(tmp_path, capsys):
    pairs = open_pairs(broken_set(tmp_path / "set.parquet"))
    assert convert(pairs, tmp_path / "layout") == 9 and convert(open_pairs(tmp_path / "layout"), tmp_path / "new.parquet") == 9
    assert capsys.readouterr().err.count("set.parquet row ") == 9
    assert check_pairs(open_pairs(tmp_path / "new.parquet"), 0) == list(range(9))


def test_broken_rows_of_a_layout_are_named(tmp_path):
    layout = write_original_layout(tmp_path / "layout")
    (layout / "0000004" / "prompt.json").write_text("{")
    (layout / "0000000" / "77_1.jpg").unlink()
    told = []
    assert check_pairs(open_pairs(layout), 0.5, told.append) == [0, 3, 4, 5]
    assert "row 1: the picture after" in told[0] and "77_1.jpg" in told[0] and "row 2: 0000004/prompt.json can't be read" in told[1]


def test_too_many_broken_rows_end_it_as_soon_as_that_is_known(tmp_path, monkeypatch):
    columns = {"input_image": ([b"no"] * 500, Image()), "edited_image": ([jpeg(1)] * 500, Image()), "edit_prompt": (["x"] * 500, TEXT)}
    pairs, told = open_pairs(write_set(tmp_path / "set.parquet", columns)), []
    with pytest.raises(EditError, match=r"at least 6 of 500 rows are broken, and 1\.00% may be"):
        check_pairs(pairs, 0.01, told.append)
    assert len(told) < 10
    with pytest.raises(EditError, match="500 of 500"):
        check_pairs(pairs, 1.0, told.append)


def test_a_second_start_does_not_check_again_but_names_the_broken_rows(tmp_path, monkeypatch):
    path, told = broken_set(tmp_path / "set.parquet"), []
    check_pairs(open_pairs(path), 0.5, told.append)
    monkeypatch.setattr(check, "check_row", lambda row: pytest.fail("decoded again"))
    again = []
    assert check_pairs(open_pairs(path), 0.5, again.append) == list(range(0, 18, 2)) and again == told
    with pytest.raises(EditError, match="rows are broken"):
        check_pairs(open_pairs(path), 0.01, again.append)


def test_a_set_that_changed_is_checked_again(tmp_path):
    path = tmp_path / "set.parquet"
    write_pairs((a_pair(i) for i in range(3)), path)
    assert check_pairs(open_pairs(path)) == [0, 1, 2]
    columns = {"input_image": ([jpeg(1), b"no"], Image()), "edited_image": ([jpeg(1)] * 2, Image()), "edit_prompt": (["x"] * 2, TEXT)}
    write_set(path, columns)
    assert check_pairs(open_pairs(path), 0.5, lambda line: None) == [0]


def test_an_interrupted_check_goes_on_where_it_stopped(tmp_path, monkeypatch):
    write_pairs((a_pair(i) for i in range(60)), tmp_path / "set.parquet")
    pairs, check_row, seen = open_pairs(tmp_path / "set.parquet"), check.check_row, []

    def interrupted(row):
        seen.append(row["edit_prompts"][0])
        if len(seen) == 40:
            raise KeyboardInterrupt
        check_row(row)

    monkeypatch.setattr(check, "check_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_pairs(pairs)
    before = len(seen)
    assert check_pairs(pairs) == list(range(60))
    assert 60 <= len(seen) <= 60 + before - 20 and len(set(seen)) == 60


def test_a_set_without_rows_is_refused(tmp_path):
    path = write_set(tmp_path / "set.parquet", published(0)["fusing/instructpix2pix-1000-samples"])
    with pytest.raises(EditError, match="has no rows"):
        check_pairs(open_pairs(path))
