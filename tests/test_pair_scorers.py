"""What the filter scores by: edges, SSIM, similarities, DINO, and a judge behind an endpoint."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

pytest.importorskip("datasets", reason="pair sets need datasets (pip install -e '.[train]')")
pytest.importorskip("openai", reason="endpoints need openai (pip install -e '.[data]')")

from endpoint_server import error, reply, serving
from filter_cases import ColourWords, moved, scene_pair
from ip2p.dataset.scenes import SIDE, scene
from ip2p.endpoint import Service
from ip2p.errors import EditError
from ip2p.scorers.by_name import pair_scorer_named
from ip2p.scorers.judge import Judge, Judging
from ip2p.scorers.similarities import Similarities
from ip2p.scorers.structure import Ssim, edge_similarity

CPU = torch.device("cpu")
EXAMPLES = Path(__file__).resolve().parents[1] / "ip2p" / "examples"


@pytest.fixture(scope="module")
def cat():
    with Image.open(EXAMPLES / "chelsea.jpg") as image:
        return image.convert("RGB").resize((192, 128))


@pytest.mark.parametrize("number", range(6))
def test_edges_stay_where_a_scene_is_recoloured_and_not_where_its_shape_moved_or_vanished(number):
    pair = scene_pair(number)
    before, after = pair.original_image, pair.edited_image
    assert edge_similarity(before, after) > 0.95
    gone = Image.new("RGB", after.size, after.getpixel((0, 0)))
    assert edge_similarity(before, moved(after)) < 0.5 and edge_similarity(before, gone) == 0


def test_edges_are_seen_between_colours_of_one_brightness():
    inside = scene(0).inside
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    grey[inside] = (200, 92, 128)  # of the same luma
    coloured = scene(0).drawn("white", "black")
    assert edge_similarity(Image.fromarray(grey), coloured) > 0.9


def test_edges_of_a_photograph_stay_under_other_colours_and_compression_and_not_when_it_moves(cat):
    compressed = io.BytesIO()
    cat.save(compressed, "JPEG", quality=40)
    sepia = ImageOps.colorize(cat.convert("L"), "#201000", "#ffe8c0")
    for same in (ImageOps.invert(cat), sepia, Image.open(compressed).convert("RGB"), cat.resize((96, 64))):
        assert edge_similarity(cat, same) > 0.75
    for other in (moved(cat, 20), ImageOps.mirror(cat), cat.crop((30, 20, 150, 100)).resize(cat.size)):
        assert edge_similarity(cat, other) < 0.4
    flat = Image.new("RGB", cat.size)
    assert edge_similarity(flat, Image.new("RGB", cat.size, "red")) == 1


def test_ssim_is_of_both_pictures_at_the_size_of_the_first(cat):
    pair = replace(scene_pair(0), original_image=cat, edited_image=cat.resize((384, 256)))
    noise = replace(pair, edited_image=Image.effect_noise(cat.size, 80).convert("RGB"))
    (same, other) = (found["ssim"] for found in Ssim().score([pair, noise]))
    assert same > 0.98 and other < 0.3


def test_similarities_have_the_names_of_the_original_code_and_follow_the_pictures():
    pair, wrong = scene_pair(1), scene_pair(2)
    found = Similarities(ColourWords()).score(
        [
            pair,
            replace(pair, edited_image=pair.original_image),
            replace(pair, edited_image=wrong.edited_image),
            replace(pair, edited_prompt=""),
        ]
    )
    right, unchanged, other, no_caption = found
    assert list(right) == ["words_sim_image", "words_sim_0", "words_sim_1", "words_sim_dir"]
    assert right["words_sim_dir"] > 0.7 and unchanged["words_sim_dir"] == 0 and unchanged["words_sim_image"] == pytest.approx(1)
    assert other["words_sim_1"] < right["words_sim_1"] and list(no_caption) == ["words_sim_image"]


def test_dino_is_read_from_a_folder_and_says_what_to_do_where_there_is_none(cat, tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2)
    Dinov2Model(config).save_pretrained(tmp_path / "tiny random dino")
    scorer = pair_scorer_named(f"dino={tmp_path / 'tiny random dino'}", CPU, Judging())
    assert scorer.scores == ("dino_sim_image",) and scorer.name == "DINO (tiny random dino)" and scorer.version
    pair = replace(scene_pair(0), original_image=cat, edited_image=cat)
    same, other = scorer.score([pair, replace(pair, edited_image=scene_pair(0).edited_image)])
    assert same["dino_sim_image"] == pytest.approx(1) and other["dino_sim_image"] < 0.999
    with pytest.raises(EditError, match=r"DINO can't be read from .*--scorer dino=FOLDER, or leave it out"):
        pair_scorer_named(f"dino={tmp_path}", CPU, Judging())


def judge(server, **more):
    service = {"url": server.url, "requests": 2, "retries": 1, "timeout": 5.0}
    return Judge("m", Judging(Service(**service | more), "{edit}? From “{input}” to “{output}”"))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("ip2p.endpoint.FIRST_WAIT", 0.01)


def test_a_judge_sees_both_pictures_is_asked_the_question_and_gives_a_number(quick, cat):
    pair = replace(scene_pair(3), original_image=cat)
    with serving(lambda *_: reply("8.5 of 10")) as server:
        assert judge(server).score([pair]) == [{"judge": 8.5}]
    (body,) = server.asked
    text, *pictures = body["messages"][0]["content"]
    assert text["text"] == f"{pair.edit_prompt}? From “{pair.original_prompt}” to “{pair.edited_prompt}”" and body["temperature"] == 0
    sizes = [Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))).size for part in pictures]
    assert sizes == [cat.size, (SIDE, SIDE)]


def test_a_judge_that_fails_for_a_pair_gives_the_reason_and_one_that_fails_for_all_ends(quick):
    pairs = [scene_pair(i) for i in range(2)]
    with serving(lambda said, _: reply("eleven, or 11") if said.startswith(pairs[0].edit_prompt) else reply("10")) as server:
        first, second = judge(server).score(pairs)
    assert first == "the judge gave an answer without a number from 0 to 10, 2 times" and second == {"judge": 10.0}
    with serving(lambda *_: error(401)) as server, pytest.raises(EditError, match="refuses the key"):
        judge(server).score(pairs)
