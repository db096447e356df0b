"""A person's own ready instructions are kept, read safely and never break the rest."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ip2p import files, presets
from ip2p.edit import MAX_SCALE, MAX_STEPS
from ip2p.errors import EditError
from ip2p.presets import (
    FILE_NAME,
    MAX_NAME,
    MAX_OWN,
    Preset,
    delete_own,
    folder_of,
    groups_known,
    keeping,
    load,
    own,
    preset_named,
    rename_own,
    save_own,
)  # fmt: skip
from ip2p.presets.preset import from_entry
from ip2p.presets.yaml_text import parse
from preset_cases import FOG, SHIPPED, TEXT, own_file, own_only, sentence


@pytest.fixture
def problems():
    return []


def test_without_a_file_of_ones_own_there_are_the_shipped_ones(tmp_path, problems):
    assert load(tmp_path / "nowhere", problems) == SHIPPED and problems == []
    assert load(own_file(tmp_path, ""), problems) == SHIPPED and problems == []


def test_what_is_saved_is_read_again(tmp_path, problems):
    saved = save_own(tmp_path / "new" / "folder", FOG)
    assert saved == replace(FOG, own=True)
    assert own_only(tmp_path / "new" / "folder", problems) == {"pink-fog": saved} and problems == []


@given(TEXT, TEXT, TEXT, st.floats(0, MAX_SCALE), st.integers(1, MAX_STEPS))
def test_any_text_and_number_comes_back_as_it_was_saved(tmp_path_factory, name, choice, default, scale, steps):
    assume(name.strip() and choice.strip() and default.strip())
    preset = Preset(name=name, instruction="add {x} fog", choices={"x": [choice]}, defaults={"x": default}, image_scale=scale, steps=steps)
    folder = tmp_path_factory.mktemp("own")
    problems = []
    saved = save_own(folder, preset)
    assert own_only(folder, problems) == {preset.key: saved} and problems == []


@pytest.mark.parametrize(
    "text",
    ["yes", "null", "1.5", "1e3", "12:30", "2020-01-01", "???", "- a", "a: b", "# a", "&a", "*a", "!!int 5", "'\"", "${", "${x", "$"],
)
def test_text_that_yaml_would_read_as_something_else_stays_text(tmp_path, problems, text):
    saved = save_own(tmp_path, replace(FOG, name=text, key="", choices={"colour": [text]}, defaults={}))
    assert own_only(tmp_path, problems) == {saved.key: saved} and problems == []
    assert saved.instruction_for() == f"add {text} fog"


def test_the_file_is_yaml_that_a_person_can_read(tmp_path):
    save_own(tmp_path, replace(FOG, name="Rosé-Nebel 雪", key="", instruction="add {colour} fog"))
    text = (tmp_path / FILE_NAME).read_text(encoding="utf8")
    for line in (
        "rosé-nebel-雪:",
        "  name: Rosé-Nebel 雪",
        "  instruction: add {colour} fog",
        "    - pink",
        "  image_scale: 1.4",
        "  steps: 25",
    ):
        assert line in text.splitlines()
    assert text.startswith("# ")


def test_a_save_under_a_shipped_key_gets_a_key_of_its_own(tmp_path, problems):
    saved = save_own(tmp_path, replace(SHIPPED["fog"], steps=99))
    save_own(tmp_path, FOG)
    loaded = load(tmp_path, problems)
    assert {key: loaded[key] for key in SHIPPED} == SHIPPED and problems == []
    assert list(loaded) == [*SHIPPED, "fog-own", "pink-fog"]
    assert loaded["fog-own"] == saved
    assert (saved.name, saved.group, saved.steps, saved.own) == (SHIPPED["fog"].name + " (own)", SHIPPED["fog"].group, 99, True)
    with pytest.raises(EditError, match="fog-own"):
        save_own(tmp_path, replace(SHIPPED["fog"], steps=5))
    save_own(tmp_path, replace(SHIPPED["fog"], steps=5), overwrite=True)
    assert load(tmp_path)["fog-own"].steps == 5


def test_a_file_that_has_a_shipped_key_is_read_beside_the_shipped_one(tmp_path, problems):
    """Earlier versions let it take the shipped one's place."""
    mine = "fog: {name: Mist, instruction: add mist}\n"
    taken = "fog-own: {name: Other, instruction: add rain}\n"
    assert preset_named("fog-own", load(own_file(tmp_path, mine))).name == "Mist (own)"
    loaded = load(own_file(tmp_path, mine + taken), problems)
    assert {key: loaded[key] for key in SHIPPED} == SHIPPED and problems == []
    assert {key: preset.name for key, preset in own_only(tmp_path).items()} == {"fog-own-2": "Mist (own 2)", "fog-own": "Other"}
    delete_own(tmp_path, "fog-own")
    assert own_only(tmp_path)["fog-own"].instruction == "add mist"
    save_own(tmp_path, Preset(name="Haze", key="fog", instruction="add haze"), overwrite=True)
    assert {key: preset.name for key, preset in own_only(tmp_path).items()} == {"fog-own": "Haze (own)"}


def test_a_long_key_and_name_get_their_ending_too(tmp_path, monkeypatch):
    key = "k" * (MAX_NAME - 1)
    monkeypatch.setattr(own, "shipped", lambda: {key: FOG})
    saved = save_own(tmp_path, Preset(name="n" * MAX_NAME, key=key, instruction="add fog"))
    assert saved.key == "k" * (MAX_NAME - 4) + "-own" and saved.name == "n" * (MAX_NAME - 6) + " (own)"
    assert own_only(tmp_path) == {saved.key: saved}


def test_everybody_has_presets_of_their_own(tmp_path):
    folders = [folder_of(tmp_path, user) for user in (None, "anna", "../anna", "Anna", "a\udc80")]
    for i, folder in enumerate(folders):
        save_own(folder, replace(FOG, steps=i + 1))
    assert [own_only(folder)["pink-fog"].steps for folder in folders] == [1, 2, 3, 4, 5]
    assert folders[0] == folder_of(tmp_path, "") == tmp_path and all(folder.parent == tmp_path for folder in folders[1:])


def test_an_own_preset_can_be_deleted_and_nothing_else(tmp_path, problems):
    saved = save_own(tmp_path, FOG)
    save_own(tmp_path, replace(FOG, name="Red fog", key=""))
    assert delete_own(tmp_path, "pink-fog") == saved
    assert list(own_only(tmp_path, problems)) == ["red-fog"] and problems == []
    before = (tmp_path / FILE_NAME).read_bytes()
    for key in ("pink-fog", "fog", "nowhere"):
        with pytest.raises(EditError, match=f"“{key}”"):
            delete_own(tmp_path, key)
    assert (tmp_path / FILE_NAME).read_bytes() == before and load(tmp_path)["fog"] == SHIPPED["fog"]
    delete_own(tmp_path, "red-fog")
    assert load(tmp_path, problems) == SHIPPED and problems == []
    assert save_own(tmp_path, FOG) == own_only(tmp_path)["pink-fog"]


def test_deleting_keeps_the_entries_that_cannot_be_used(tmp_path):
    own_file(tmp_path, BROKEN)
    delete_own(tmp_path, "good")
    problems = []
    assert list(own_only(tmp_path, problems)) == ["also-good"] and len(problems) == len(BAD_KEYS)


def test_a_save_reads_none_of_the_presets_that_are_there(tmp_path, monkeypatch):
    """That takes two seconds for 178 of them; here it is counted, not timed."""
    own_file(tmp_path, "".join(f"p{i}: {{name: P {i}, instruction: add fog}}\n" for i in range(MAX_OWN - 2)))
    load(tmp_path)
    read = []
    monkeypatch.setattr(own, "parse", lambda text, path: read.append(len(text)) or parse(text, path))
    for name in ("One", "Two"):
        save_own(tmp_path, Preset(name=name, instruction="add fog"))
        load(tmp_path)
    assert len(read) == 2 and max(read) < 500
    monkeypatch.undo()
    own._known.clear()
    assert list(own_only(tmp_path))[-3:] == ["p497", "one", "two"]


@pytest.mark.parametrize(
    "text",
    ["", "# only\n# comments", "{}", "null\n", "a: {name: A, instruction: add fog}", "{a: {name: A, instruction: add fog}}\n",
     "a: {name: A, instruction: add fog}\n...\n", "---\na: {name: A, instruction: add fog}\n",
     "  a:\n    name: A\n    instruction: add fog\n", "a:\n  name: A\n  instruction: |+\n    add fog\n\n", "a:\n  instruction: add fog\n  name: A"],
)  # fmt: skip
def test_a_preset_is_added_to_a_file_however_it_was_written(tmp_path, problems, text):
    own_file(tmp_path, text)
    kept = own_only(tmp_path)
    saved = save_own(tmp_path, FOG)
    own._known.clear()
    assert own_only(tmp_path, problems) == {**kept, "pink-fog": saved} and problems == []
    assert len(kept) == ("name" in text)


def test_comments_stay_when_a_preset_is_added(tmp_path):
    own_file(tmp_path, "# mine\na: {name: A, instruction: add fog}  # the first\n")
    save_own(tmp_path, FOG)
    text = (tmp_path / FILE_NAME).read_text(encoding="utf8")
    assert "# mine" in text and "# the first" in text and list(own_only(tmp_path)) == ["a", "pink-fog"]


def test_a_file_that_was_changed_by_hand_is_read_again(tmp_path):
    save_own(tmp_path, FOG)
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text(encoding="utf8").replace("steps: 25", "steps: 26"), encoding="utf8")
    assert own_only(tmp_path)["pink-fog"].steps == 26


def test_an_own_preset_is_not_overwritten_unless_asked(tmp_path):
    save_own(tmp_path, FOG)
    with pytest.raises(EditError, match="pink-fog"):
        save_own(tmp_path, replace(FOG, steps=99))
    assert own_only(tmp_path)["pink-fog"].steps == 25
    save_own(tmp_path, replace(FOG, steps=99), overwrite=True)
    assert own_only(tmp_path)["pink-fog"].steps == 99


BROKEN = """
good:
  name: Good
  instruction: make it good
no-name:
  instruction: make it bad
typo:
  name: Typo
  instruction: make it bad
  text_scal: 7
steps:
  name: Steps
  instruction: make it bad
  steps: 500
words:
  name: Words
  instruction: make it {bad}
text: just text
Upper Case:
  name: Upper
  instruction: make it bad
7:
  name: Seven
  instruction: make it bad
also-good:
  name: Also good
  instruction: make it better
  steps:
"""
BAD_KEYS = ("no-name", "typo", "steps", "words", "text", "Upper Case", "7")


def test_broken_entries_are_reported_by_file_and_key_and_the_others_are_read(tmp_path, problems):
    assert list(own_only(own_file(tmp_path, BROKEN), problems)) == ["good", "also-good"]
    assert len(problems) == len(BAD_KEYS)
    for key, problem in zip(BAD_KEYS, problems):
        assert f"“{key}”" in sentence(problem) and str(tmp_path / FILE_NAME) in problem
    assert "text_scal" in problems[1] and "500" in problems[2] and "{bad}" in problems[3]


@pytest.mark.parametrize("key", [r"a\nb", r"\ud800", "x" * 900, r"\0", "${oc.env:HOME}", ""])
def test_whatever_a_key_is_the_report_is_one_line_that_can_be_sent(tmp_path, problems, key):
    own_file(tmp_path, f'"{key}": {{name: A, instruction: add fog, "{key} ": 1}}\n"{key} ": {{name: A, instruction: add fog}}\n')
    assert own_only(tmp_path, problems) == {} and len(problems) in (1, 2)  # libyaml refuses a whole file with half a surrogate pair in it
    for problem in problems:
        assert sentence(problem).encode()


def test_saving_keeps_the_entries_that_cannot_be_used(tmp_path, problems):
    own_file(
        tmp_path,
        BROKEN + "nan: {name: NaN, instruction: add fog, image_scale: .nan}\nenv: {name: Env, instruction: 'add ${oc.env:HOME}'}\n",
    )
    save_own(tmp_path, FOG)
    assert list(own_only(tmp_path, problems)) == ["good", "also-good", "pink-fog"]
    assert len(problems) == len(BAD_KEYS) + 2
    assert "add ${oc.env:HOME}" in (tmp_path / FILE_NAME).read_text(encoding="utf8")


NO_YAML = {
    "open bracket": "a: [1, 2",
    "tab": "a:\n\tb: 1",
    "double key": "a: {name: A, instruction: add fog}\na: {name: B, instruction: add rain}",
    "list": "- a\n- b",
    "object": "a: !!python/object/apply:os.system ['touch ran']",
    "recursion": "a: &a [*a]",
    "nested": "a: " + "[" * 5000,
    "laughs": "a: &a [x, x]\n"
    + "\n".join(f"{y}: &{y} [*{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}]" for x, y in zip("abcdefghi", "bcdefghij")),
}


@pytest.mark.parametrize("text", NO_YAML.values(), ids=NO_YAML)
def test_a_file_that_cannot_be_read_is_reported_and_never_overwritten(tmp_path, problems, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(own_file(tmp_path, text), problems) == SHIPPED
    assert len(problems) == 1 and str(tmp_path / FILE_NAME) in sentence(problems[0])
    with pytest.raises(EditError):
        save_own(tmp_path, FOG)
    assert (tmp_path / FILE_NAME).read_text(encoding="utf8") == text
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_name_that_looks_like_a_date_is_text(tmp_path, problems):
    own_file(tmp_path, "day:\n  name: 2024-01-01\n  instruction: add fog\n")
    assert own_only(tmp_path, problems)["day"].name == "2024-01-01" and problems == []


def test_a_yaml_error_names_its_line(tmp_path, problems):
    load(own_file(tmp_path, "a:\n  name: A\n  instruction: [\n"), problems)
    assert re.search(r"line \d", problems[0])


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a: \x80", b"x" * 1_000_001], ids=["utf16", "latin", "large"])
def test_a_file_that_is_no_text_or_too_large_is_reported(tmp_path, problems, data):
    (tmp_path / FILE_NAME).write_bytes(data)
    assert load(tmp_path, problems) == SHIPPED
    assert str(tmp_path / FILE_NAME) in sentence(problems[0])


def test_a_folder_in_the_files_place_is_reported(tmp_path, problems):
    (tmp_path / FILE_NAME).mkdir()
    assert load(tmp_path, problems) == SHIPPED
    assert str(tmp_path / FILE_NAME) in sentence(problems[0])
    with pytest.raises(EditError):
        save_own(tmp_path, FOG)


@given(st.text(max_size=200) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(lambda x: f"fog: {json.dumps(x)}"))  # fmt: skip
def test_no_own_file_breaks_the_shipped_presets(tmp_path_factory, text):
    problems = []
    folder = tmp_path_factory.mktemp("own")
    (folder / FILE_NAME).write_bytes(text.encode(errors="surrogatepass"))
    loaded = load(folder, problems)
    assert {key: loaded[key] for key in SHIPPED} == SHIPPED
    assert [sentence(problem) for problem in problems] == problems


def test_a_file_saved_by_notepad_is_read(tmp_path, problems):
    (tmp_path / FILE_NAME).write_bytes("\ufeffgood:\r\n  name: Gut\r\n  instruction: add fog\r\n".encode())
    assert list(own_only(tmp_path, problems)) == ["good"] and problems == []


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "${oc.env:SECRET}", "${name}", "${", "${oc.env:", "\\x24{oc.env:SECRET}"])
def test_interpolations_are_never_resolved(tmp_path, problems, monkeypatch, text):
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("HOME", "/home/hunter2")
    own_file(
        tmp_path,
        f'one:\n  name: "One {text}"\n  instruction: add {{x}}\n  choices: {{x: ["{text}"]}}\n'
        f'two:\n  name: Two\n  instruction: "add {text}"\nthree:\n  name: Three\n  instruction: add fog\n  steps: "{text}"\n'
        "four:\n  name: Four\n  instruction: add fog\n",
    )
    mine = own_only(tmp_path, problems)
    literal = text.replace("\\x24", "$")
    assert list(mine) == ["one", "four"] and len(problems) == 2
    assert mine["one"].name == f"One {literal}" and mine["one"].instruction_for() == f"add {literal}"
    save_own(tmp_path, FOG)
    save_own(tmp_path, replace(mine["one"], name="Again", key=""))
    everything = (tmp_path / FILE_NAME).read_text(encoding="utf8") + str(problems) + str(own_only(tmp_path))
    assert "hunter2" not in everything and own_only(tmp_path)["again"].instruction_for() == f"add {literal}"


def test_saving_leaves_nothing_but_the_file(tmp_path):
    save_own(tmp_path, FOG)
    save_own(tmp_path, replace(FOG, steps=99), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("error, seen", [(OSError(28, "No space left on device"), EditError), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_a_save_that_fails_halfway_leaves_the_old_file(tmp_path, monkeypatch, error, seen):
    save_own(tmp_path, FOG)
    before = (tmp_path / FILE_NAME).read_bytes()

    def fail(*paths):
        raise error

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(seen):
        save_own(tmp_path, replace(FOG, steps=99), overwrite=True)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(EditError) as error:
        save_own(tmp_path / "file", FOG)
    assert str(tmp_path / "file" / FILE_NAME) in sentence(error)


def test_there_is_a_limit_to_ones_own_presets(tmp_path, problems):
    entries = "".join(f"p{i}: {{name: P {i}, instruction: add fog}}\n" for i in range(MAX_OWN))
    assert len(own_only(own_file(tmp_path, entries), problems)) == MAX_OWN and problems == []
    with pytest.raises(EditError, match=str(MAX_OWN)):
        save_own(tmp_path, FOG)
    save_own(tmp_path, Preset(name="P 7", key="p7", instruction="add rain"), overwrite=True)
    own_file(tmp_path, entries + "more: {name: More, instruction: add fog}\n")
    assert len(own_only(tmp_path, problems)) == MAX_OWN and "more" not in load(tmp_path)
    assert "501" in sentence(problems[0])


def test_a_file_that_would_become_too_large_is_not_written(tmp_path, monkeypatch, problems):
    monkeypatch.setattr(own, "MAX_FILE", 1000)
    save_own(tmp_path, FOG)
    with pytest.raises(EditError) as error:
        save_own(tmp_path, Preset(name="Big", instruction="add {x}", choices={"x": ["x" * 190 + f" {i}" for i in range(5)]}))
    assert "1 kB" in sentence(error) and str(tmp_path / FILE_NAME) in sentence(error)
    assert list(own_only(tmp_path, problems)) == ["pink-fog"] and problems == []


def test_the_shipped_file_reads_the_same_by_the_quick_way_and_by_that_of_own_files():
    entries, _ = parse(presets.SHIPPED.read_text(encoding="utf8"), presets.SHIPPED)
    assert {key: from_entry(presets.SHIPPED, key, entry, own=False) for key, entry in entries.items()} == presets.shipped()


def test_an_own_preset_is_renamed_at_its_place_and_nothing_else(tmp_path):
    for name in ("One", "Two", "Three"):
        save_own(tmp_path, Preset(name, f"make it {name}", text_scale=9))
    renamed = rename_own(tmp_path, "two", "Zwei")
    own = [preset for preset in load(tmp_path).values() if preset.own]
    assert [preset.name for preset in own] == ["One", "Zwei", "Three"] and own[1] == renamed
    assert (renamed.key, renamed.instruction, renamed.text_scale) == ("zwei", "make it Two", 9)
    assert rename_own(tmp_path, "zwei", "zwei").name == "zwei", "the same key"
    with pytest.raises(EditError, match="already have"):
        rename_own(tmp_path, "zwei", "One")
    with pytest.raises(EditError, match="only your own"):
        rename_own(tmp_path, "rain", "Mine")
    assert rename_own(tmp_path, "one", "Rain").key != "rain", "a shipped one's key"


def test_what_a_model_names_tells_which_kinds_of_change_it_knows():
    small = ("make it winter", "make it look like a sunset", "add fog", "make it a pencil drawing", "make it black and white")
    assert groups_known(load(), small) == {"season", "time of day", "weather", "art medium and style"}
    assert groups_known(load(), ("give her blond hair",)) >= {"hair"} and not groups_known(load(), ())


def test_an_instruction_is_saved_as_it_stands_renamed_and_deleted(tmp_path):
    done = keeping.save(tmp_path, "Mine", "make it {odd}", 5.0, 1.2, 12.0)
    assert done == keeping.Done("Saved as “Mine”: it is under “own”.", "own", "Mine")
    (mine,) = own_only(tmp_path).values()
    assert (mine.instruction, mine.text_scale, mine.image_scale, mine.steps) == ("make it (odd)", 5, 1.2, 12)
    assert keeping.rename(tmp_path, "own", "Mine", "Yours") == keeping.Done("“Mine” is “Yours” now.", "own", "Yours")
    shipped = next(iter(SHIPPED.values()))
    for act in (lambda *chosen: keeping.rename(tmp_path, *chosen, "New"), lambda *chosen: keeping.delete(tmp_path, *chosen)):
        for chosen in ((shipped.group, shipped.name), ("own", "Mine"), ("own", None)):
            with pytest.raises(EditError, match="Choose one of your own first"):
                act(*chosen)
    assert keeping.delete(tmp_path, "own", "Yours") == keeping.Done("Deleted “Yours”.", "own", None)
    assert load(tmp_path) == SHIPPED
