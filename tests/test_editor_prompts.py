"""Prompts of any length in the editor."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from editor_cases import difference

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]


def test_long_prompts_are_chunks_of_75_between_their_own_ends(editor):
    bos, eos = editor.tokenizer.bos_token_id, editor.tokenizer.eos_token_id
    for count, chunks in ((0, 1), (75, 1), (76, 2), (150, 2), (151, 3)):
        tokens = editor.tokens("a " * count)
        assert len(tokens) == chunks and all(len(chunk) == 77 and chunk[0] == bos and chunk[-1] == eos for chunk in tokens)
        assert sum(token not in (bos, eos) for chunk in tokens for token in chunk) == count
    text = "a " * 100
    encoded = editor.encode_text(text)
    assert encoded.shape[0] == 154
    assert torch.allclose(encoded[77:], editor.encode_text("a " * 25), atol=1e-6)
    assert editor.tokens("snow") == [editor.tokenizer("snow", padding="max_length", max_length=77).input_ids]


def test_a_chunk_ends_at_a_comma_near_its_end(editor):
    first, second = editor.tokens("a " * 60 + ", " + "b " * 30)
    eos = editor.tokenizer.eos_token_id
    assert len([token for token in first[1:] if token != eos]) == 61
    assert len([token for token in second[1:] if token != eos]) == 30
    first, _ = editor.tokens("a " * 40 + ", " + "b " * 50)
    assert len([token for token in first[1:] if token != eos]) == 75


def test_a_prompt_and_a_negative_prompt_of_other_lengths_are_edited(editor, edit, monkeypatch):
    shapes, forward = [], editor.unet.forward
    monkeypatch.setattr(
        editor.unet, "forward", lambda x, *a, **k: shapes.append(tuple(k["encoder_hidden_states"].shape[:2])) or forward(x, *a, **k)
    )
    long = replace(edit, instruction="a " * 90, steps=2)  # a token a word in any vocabulary
    (alone,) = editor.edit(long)
    assert editor.rows == [3, 3] and shapes == [(1, 154), (2, 77)] * 2
    both = editor.edit([replace(edit, steps=2), long])
    assert difference(alone, both[1]) <= 1
