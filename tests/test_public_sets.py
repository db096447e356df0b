"""Public pair sets whose columns mean something else elsewhere: captions called input and output, scores, masks, ways back."""

import json
import pickle

import pytest

pytest.importorskip("datasets", reason="pair sets need datasets (pip install -e '.[train]')")
from datasets import Image, List, Value

from ip2p.dataset.check import check_pairs
from ip2p.dataset.conversion import convert
from ip2p.dataset.open import open_pairs
from ip2p.dataset.pairs import BrokenRow
from ip2p.errors import EditError
from pair_sets import erased, jpeg, same_picture, write_set

pytestmark = pytest.mark.usefixtures("own_cache")
COUNT = 2
BEFORE, AFTER = [jpeg(i) for i in range(COUNT)], [jpeg(100 + i) for i in range(COUNT)]
CAPTIONS, NEW = [f"caption {i}" for i in range(COUNT)], [f"new caption {i}" for i in range(COUNT)]
INSTRUCTIONS = [f"make it {i}" for i in range(COUNT)]
TEXT, NUMBER, WHOLE, IMAGE = Value("string"), Value("float64"), Value("int32"), Image()
PICTURES = {"before": (BEFORE, IMAGE), "after": (AFTER, IMAGE)}
# Columns as the sets' cards on the hub list them.
ANY_EDIT = {
    "image_id": (["a", "b"], TEXT),
    "edit_instruction": (INSTRUCTIONS, TEXT),
    "edit_type": (["tone"] * COUNT, TEXT),
    "image_file": (BEFORE, IMAGE),
    "edited_file": (AFTER, IMAGE),
    "visual_input": ([None] * COUNT, IMAGE),
    "input": (CAPTIONS, TEXT),
    "output": (NEW, TEXT),
}
ULTRA_EDIT = {
    **{
        name: ([0.5] * COUNT, NUMBER)
        for name in ("clip_sim_source", "clip_sim_target", "clip_sim_dir", "clip_sim_image", "dinov2_sim", "ssim")
    },
    "source_caption": (CAPTIONS, TEXT),
    "target_caption": (NEW, TEXT),
    "idx": (list(range(COUNT)), WHOLE),
    "edit_prompt": (INSTRUCTIONS, TEXT),
    "edit_object": (["dog"] * COUNT, TEXT),
    "source_image": (BEFORE, IMAGE),
    "edited_image": (AFTER, IMAGE),
    "mask_image": ([erased((48, 32))] * COUNT, IMAGE),
}
HUMAN_EDIT = {
    "IMAGE_ID": (["a", "b"], TEXT),
    "EDITING_TYPE": (["Add"] * COUNT, TEXT),
    "CORE": ([1] * COUNT, WHOLE),
    "MASK": ([1] * COUNT, WHOLE),
    "EDITING_INSTRUCTION": (INSTRUCTIONS, TEXT),
    "OUTPUT_DESCRIPTION": (["as it is"] * COUNT, TEXT),
    "INPUT_CAPTION_BY_LLAMA": (CAPTIONS, TEXT),
    "OUTPUT_CAPTION_BY_LLAMA": (NEW, TEXT),
    "INPUT_IMG": (BEFORE, IMAGE),
    "MASK_IMG": ([erased((48, 32))] * COUNT, IMAGE),
    "OUTPUT_IMG": (AFTER, IMAGE),
}
OMNI_EDIT = {
    "omni_edit_id": (["a", "b"], TEXT),
    "task": (["removal"] * COUNT, TEXT),
    "src_img": (BEFORE, IMAGE),
    "edited_img": (AFTER, IMAGE),
    "edited_prompt_list": ([[one] for one in INSTRUCTIONS], List(TEXT)),
    **{name: ([value] * COUNT, NUMBER) for name, value in (("sc_score_1", 9.0), ("sc_score_2", 8.0), ("pq_score", 7.0), ("o_score", 8.5))},
}
HQ_EDIT = {
    "input": (CAPTIONS, TEXT),
    "input_image": (BEFORE, IMAGE),
    "edit": (INSTRUCTIONS, TEXT),
    "inverse_edit": ([f"make {i} as it was" for i in range(COUNT)], TEXT),
    "output": (NEW, TEXT),
    "output_image": (AFTER, IMAGE),
}
SETS = {"AnyEdit": ANY_EDIT, "UltraEdit": ULTRA_EDIT, "HumanEdit": HUMAN_EDIT}


def assert_pair(pair, i, captions=True):
    assert pair.edit_prompts == (INSTRUCTIONS[i],)
    assert same_picture(pair.original_image, BEFORE[i]) and same_picture(pair.edited_image, AFTER[i])
    assert (pair.original_prompt, pair.edited_prompt) == ((CAPTIONS[i], NEW[i]) if captions else ("", ""))


@pytest.mark.parametrize("name", SETS)
def test_captions_instructions_pictures_and_masks_are_told_apart(name, tmp_path):
    pairs = open_pairs(write_set(tmp_path / "set.parquet", SETS[name]))
    assert len(check_pairs(pairs, 1.0)) == COUNT
    for i, pair in enumerate(pairs):
        assert_pair(pair, i)
        assert (pair.mask is not None) == ("mask" in " ".join(SETS[name]).lower())
        assert pair.mask is None or [pair.mask.getpixel((x, 16)) for x in (0, 47)] == [255, 0]


def test_scores_in_columns_of_their_own_are_scores(tmp_path):
    pair = open_pairs(write_set(tmp_path / "set.parquet", ULTRA_EDIT))[0]
    assert pair.scores == dict.fromkeys(("clip_sim_source", "clip_sim_target", "clip_sim_dir", "clip_sim_image", "dinov2_sim", "ssim"), 0.5)
    assert pair.extra == {"idx": 0, "edit_object": "dog"}
    scores = open_pairs(write_set(tmp_path / "omni.parquet", OMNI_EDIT))[0].scores
    assert scores == {"sc_score_1": 9.0, "sc_score_2": 8.0, "pq_score": 7.0, "o_score": 8.5}


@pytest.mark.parametrize("name", SETS)
def test_a_public_set_is_the_same_after_it_was_written_in_our_columns(name, tmp_path):
    pairs = open_pairs(write_set(tmp_path / "set.parquet", SETS[name]))
    for target in ("ours.parquet", "layout"):
        assert convert(pairs, tmp_path / target) == COUNT
        for i, (pair, own) in enumerate(zip(open_pairs(tmp_path / target), pairs)):
            assert_pair(pair, i)
            assert (pair.scores, pair.extra) == (own.scores, own.extra) and (pair.mask is None) == (own.mask is None)


def test_a_row_that_says_how_to_go_back_is_two_pairs(tmp_path):
    pairs = open_pairs(write_set(tmp_path / "set.parquet", HQ_EDIT))
    assert len(pairs) == 2 * COUNT
    for i in range(COUNT):
        assert_pair(pairs[2 * i], i)
        back = pairs[2 * i + 1]
        assert back.edit_prompts == (f"make {i} as it was",)
        assert same_picture(back.original_image, AFTER[i]) and same_picture(back.edited_image, BEFORE[i])
        assert (back.original_prompt, back.edited_prompt) == (NEW[i], CAPTIONS[i])
        assert pairs.texts(2 * i + 1)["edit_prompts"] == (f"make {i} as it was",)
    assert [pair.edit_prompt for pair in pickle.loads(pickle.dumps(pairs.select([3, 0])))] == ["make 1 as it was", "make it 0"]
    assert convert(pairs, tmp_path / "ours.parquet") == 2 * COUNT and len(open_pairs(tmp_path / "ours.parquet")) == 2 * COUNT
    assert "inverse_edit" not in pairs[0].extra


def test_a_row_without_a_way_back_is_one_pair_and_is_named(tmp_path):
    pairs = open_pairs(write_set(tmp_path / "set.parquet", HQ_EDIT | {"inverse_edit": (["back", None], TEXT)}))
    assert pairs[1].edit_prompt == "back" and pairs[2].edit_prompt == "make it 1"
    with pytest.raises(BrokenRow, match="row 1: the instruction is empty"):
        pairs[3]


def test_the_split_of_a_set_of_both_ways_keeps_its_order(tmp_path):
    pairs = open_pairs(write_set(tmp_path / "set.parquet", HQ_EDIT | {"split": (["train", "test"], TEXT)}))
    assert [pair.edit_prompt for pair in pairs.split("test")] == ["make it 1", "make 1 as it was"]


def pictures_in(folder):
    (folder / "images" / "00").mkdir(parents=True)
    for i in range(COUNT):
        (folder / "images" / "00" / f"{i}_original.jpg").write_bytes(BEFORE[i])
        (folder / "images" / "00" / f"{i}_edited.jpg").write_bytes(AFTER[i])
    return [(f"images/00/{i}_original.jpg", f"images/00/{i}_edited.jpg") for i in range(COUNT)]


def lines_of(name, paths):
    """A line of each set's JSON: NHR-Edit's, Pico-Banana's, AURORA's, GPT-Image-Edit's, HQ-Edit's columns beside paths."""
    return {
        "NHR-Edit": lambda i: {"sample_id": f"{i}", "source_file_name": paths[i][0], "edited_file_name": paths[i][1], "edit_instruction": INSTRUCTIONS[i], "img_width": 48, "style": "photo"},
        "Pico-Banana": lambda i: {"open_image_input_url": "https://example.org", "local_input_image": paths[i][0], "output_image": paths[i][1], "text": INSTRUCTIONS[i], "edit_type": "tone"},
        "AURORA": lambda i: {"instruction": INSTRUCTIONS[i], "input": paths[i][0], "output": paths[i][1]},
        "GPT-Image-Edit": lambda i: {"id": i, "image": list(paths[i]), "conversations": [{"from": "human", "value": f"<image>\n{INSTRUCTIONS[i]}"}, {"from": "gpt", "value": "<image>"}]},
        "captions": lambda i: {"input_image": paths[i][0], "output_image": paths[i][1], "edit": INSTRUCTIONS[i], "input": CAPTIONS[i], "output": NEW[i]},
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", ["NHR-Edit", "Pico-Banana", "AURORA", "GPT-Image-Edit", "captions"])
def test_json_that_names_pictures_is_read(name, tmp_path):
    line = lines_of(name, pictures_in(tmp_path))
    objects = [line(i) for i in range(COUNT)]
    (tmp_path / "list.json").write_text(json.dumps(objects))
    (tmp_path / "metadata.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in objects))
    for source in (tmp_path, tmp_path / "metadata.jsonl", tmp_path / "list.json"):
        pairs = open_pairs(source)
        assert len(pairs) == COUNT
        for i, pair in enumerate(pairs):
            assert_pair(pair, i, captions=name == "captions")


def test_several_phrasings_of_one_set_are_kept(tmp_path):
    line = lines_of("NHR-Edit", pictures_in(tmp_path))
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line(0) | {"augmented_instructions": ["zero it", INSTRUCTIONS[0]]}))
    assert open_pairs(tmp_path)[0].edit_prompts == (INSTRUCTIONS[0], "zero it")
    picoline = lines_of("Pico-Banana", [("images/00/0_original.jpg", "images/00/0_edited.jpg")])(0)
    (tmp_path / "metadata.jsonl").write_text(json.dumps(picoline | {"summarized_text": "zero"}))
    assert open_pairs(tmp_path)[0].edit_prompts == (INSTRUCTIONS[0], "zero")


@pytest.mark.parametrize("path", ["../outside.jpg", "/etc/hostname"])
def test_a_path_in_json_that_leads_out_of_the_sets_folder_is_a_broken_row(path, tmp_path):
    (tmp_path / "outside.jpg").write_bytes(BEFORE[0])
    line = lines_of("Pico-Banana", pictures_in(tmp_path / "set"))
    (tmp_path / "set" / "list.json").write_text(json.dumps([line(0), line(1) | {"local_input_image": path}, 3]))
    pairs = open_pairs(tmp_path / "set" / "list.json")
    assert_pair(pairs[0], 0, captions=False)
    with pytest.raises(BrokenRow, match=r"row 1: the picture before .* is outside the set's folder"):
        pairs[1]
    with pytest.raises(BrokenRow, match="row 2: entry 3 is not an object in braces"):
        pairs[2]


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "\udcff"])
def test_json_that_is_no_list_is_refused_in_a_sentence(text, tmp_path):
    (tmp_path / "list.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(EditError, match=r"list\.json can't be read: "):
        open_pairs(tmp_path / "list.json")


def test_a_conversation_about_more_pictures_than_two_is_a_broken_row(tmp_path):
    line = lines_of("GPT-Image-Edit", pictures_in(tmp_path))
    (tmp_path / "list.json").write_text(json.dumps([line(0), line(1) | {"image": ["a", "b", "c"]}]))
    pairs = open_pairs(tmp_path / "list.json")
    assert_pair(pairs[0], 0, captions=False)
    with pytest.raises(BrokenRow, match="row 1: the instruction is empty"):
        pairs[1]
