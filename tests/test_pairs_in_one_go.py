"""`dataset pairs` with the filter: rows to pairs to a set that trains, rows that end early, and the model's safety checker."""

import json

import pytest

pytest.importorskip("datasets", reason="pair sets need datasets (pip install -e '.[train]')")
pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")
import torch

from ip2p.dataset.generated.safety import SafetyChecker
from ip2p.dataset.open import open_pairs
from pair_runs import FAST, ROWS, save_model, write_rows_file
from pair_sets import tree
from test_cli_dataset import ran
from training_runs import ended, losses

pytestmark = pytest.mark.usefixtures("one_thread_and_no_hub", "own_cache")
OPEN = ("--scorer", "edges", "--at-least", "edges=-1")
HERE = ("--runner", "here")


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("painter") / "tiny")


@pytest.fixture
def rows(tmp_path):
    return write_rows_file(tmp_path / "rows.jsonl", ROWS[:2])


def drawn(capsys, painter, rows, output, *more):
    return ran(capsys, "pairs", rows, "--model", painter, "--output", output, *FAST, *HERE, *more)


def test_rows_become_a_filtered_set_in_one_go_which_trains(painter, rows, tmp_path, capsys, edit_config):
    output = tmp_path / "set.parquet"
    command = ("--filter", *OPEN, "--most", 1, "--by", "edges", "--held-out", 0)
    status, out, err = drawn(capsys, painter, rows, output, *command)
    assert (status, err) == (0, []) and f"Wrote {tmp_path / 'set-pairs'}: 4 pairs." in out and f"Wrote {output}: 2 of 4 pairs." in out
    every, kept = open_pairs(tmp_path / "set-pairs"), open_pairs(output)
    assert [pair.extra["id"] for pair in kept] == ["row0", "row1"] and len(every) == 4
    for pair in kept:
        of_row = [one for one in every if one.extra["id"] == pair.extra["id"]]
        assert pair.seed in {one.seed for one in of_row} and {"edges", "p2p_threshold", "cfg_scale"} <= set(pair.scores)
    status, out, _ = ran(capsys, "status", tmp_path / "set-pairs")
    assert status == 0 and "2 rows (100.0%)" in out and "not among the 1 of its row with the highest edges" in out
    config = edit_config(stage={"steps": 2}, data={"pairs": str(output)}, save_every=2, validation={"every": 0})
    ended(config, said=tmp_path / "said")
    assert len(losses(tmp_path / "run")) == 2


def test_a_run_in_one_go_that_is_repeated_draws_and_scores_nothing_again(painter, rows, tmp_path, capsys):
    output = tmp_path / "set.parquet"
    assert drawn(capsys, painter, rows, output, "--filter", *OPEN)[0] == 0
    first = tree(tmp_path)
    assert drawn(capsys, painter, rows, output, "--filter", *OPEN)[0] == 2, "the set is there"
    assert drawn(capsys, painter, rows, output, "--filter", *OPEN, "--force")[0] == 0 and tree(tmp_path) == first


@pytest.mark.parametrize("least, samples", [("-1", 2), ("2", 6)])
def test_a_row_ends_once_enough_of_its_samples_are_good_and_the_set_says_so(least, samples, painter, rows, tmp_path, capsys):
    options = ("--samples", 6, "--stop-after", 1, "--scorer", "edges", "--at-least", f"edges={least}")
    assert drawn(capsys, painter, rows, tmp_path / "set", *options)[0] == 0
    pairs = list(open_pairs(tmp_path / "set"))
    assert [pair.extra["sample"] for pair in pairs] == [*range(samples)] * 2, "a batch of two at a time"
    assert all(pair.extra["stop_after"] == 1 and -1 <= pair.scores["edges"] <= 1 for pair in pairs)
    card = (tmp_path / "set" / "README.md").read_text(encoding="utf8")
    assert f"ended once 1 of its samples had edges ≥ {least}" in card and "not the best of 6" in card
    assert json.loads((tmp_path / "set" / "run.json").read_text())["stop_after"] == {
        "good": 1,
        "at_least": {"edges": float(least)},
        "by": ["edges"],
    }
    assert "each row after 1 good samples" in ran(capsys, "status", tmp_path / "set")[1]
    status, _, (said,) = drawn(capsys, painter, rows, tmp_path / "set", "--samples", 6)
    assert status == 2 and "its stop_after is" in said, "another run's pairs are not added"


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    """A model with a random safety checker, which is set to flag nothing."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    folder = save_model(tmp_path_factory.mktemp("checked") / "tiny")
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(vision_config={**small, "image_size": 32, "patch_size": 16, "projection_dim": 16}, projection_dim=16)
    network = StableDiffusionSafetyChecker(config)
    for weights in (network.concept_embeds_weights, network.special_care_embeds_weights):
        weights.data.fill_(2.0)  # no cosine is as high
    network.save_pretrained(folder / "safety_checker")
    return folder, network


def flagging(checker, picture, others):
    """The checker flags this picture now, and none of the others."""
    folder, network = checker
    seen: list[torch.Tensor] = []
    reader = SafetyChecker(str(folder), "cpu")
    reader.network.visual_projection.register_forward_hook(lambda _, __, vectors: seen.append(vectors))
    assert not any(reader.flagged([picture, *others]))
    own, *rest = torch.nn.functional.normalize(seen[0])
    concept = own - torch.stack(rest).mean(0)
    likeness = torch.nn.functional.cosine_similarity(torch.stack([own, *rest]), concept[None])
    assert likeness[0] > likeness[1:].max() + 0.004, "to the three digits that the checker rounds to"
    network.concept_embeds.data[0] = concept
    network.concept_embeds_weights.data[0] = (likeness[0] + likeness[1:].max()) / 2
    network.save_pretrained(folder / "safety_checker")


def test_pairs_that_the_models_own_checker_flags_are_left_out_and_counted(checker, rows, tmp_path, capsys):
    folder, _ = checker
    assert drawn(capsys, folder, rows, tmp_path / "all", "--safety", "--samples", 3)[0] == 0
    before = list(open_pairs(tmp_path / "all"))
    assert len(before) == 6 and "flagged     0 pairs" in ran(capsys, "status", tmp_path / "all")[1]
    others = [picture for pair in (before[0], *before[2:]) for picture in (pair.original_image, pair.edited_image)]
    flagging(checker, before[1].edited_image, others)
    assert drawn(capsys, folder, rows, tmp_path / "set", "--safety", "--samples", 3)[0] == 0
    after = [(pair.extra["id"], pair.extra["sample"]) for pair in open_pairs(tmp_path / "set")]
    assert after == [("row0", 0), ("row0", 2), ("row1", 0), ("row1", 1), ("row1", 2)]
    assert "flagged     1 pairs" in ran(capsys, "status", tmp_path / "set")[1]
    assert "1 pairs that the model's safety checker flagged were left out" in (tmp_path / "set" / "README.md").read_text(encoding="utf8")


@pytest.mark.parametrize(
    "options, why",
    [
        (("--safety",), "has no safety checker: leave --safety out"),
        (("--stop-after", 1), "--stop-after needs --scorer"),
        (("--stop-after", 0, *OPEN), "--stop-after is at least 1"),
        (("--stop-after", 1, "--scorer", "edges"), "There are no thresholds for the scores of edges"),
        (OPEN, "--scorer is of --filter and --stop-after"),
        (("--filter", *OPEN), "--output is a .parquet file with --filter"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(options, why, painter, rows, tmp_path, capsys):
    status, out, (said,) = drawn(capsys, painter, rows, tmp_path / "set", *options)
    assert (status, out) == (2, "") and why in said and not (tmp_path / "set").exists()
