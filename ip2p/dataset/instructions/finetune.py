"""The paper's fine-tuning of a language model on rows that people wrote, with adapters of low rank (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ... import states
from ...errors import EditError
from ...files import refuse_existing, remove, why, written_whole
from ...progress import bar
from ..checked_files import parse_object
from .few_shot import SEEDS
from .language_model import TUNED, fingerprint, load, quiet, start_of
from .paper_format import MARKS, completion, prompt

SAVE_EVERY = 20  # optimizer steps
POOL = 8  # batches whose rows are sorted by length
LOSS_OF_NOTHING = -100  # a label that torch's cross entropy leaves out
# The caption alone is the message, so that any server of the folder answers in the learned format.
CHAT = "{{{{ {start} + messages[-1]['content'] + '\\n##\\n' }}}}"


@dataclass(frozen=True)
class Tuning:
    """rank: of the adapters; 0 trains all weights. passes: over the rows; warmup: share of the steps. temperature: that a server of the folder samples at."""

    passes: int = 3
    rank: int = 16
    learning_rate: float = 1e-3
    batch: int = 8
    warmup: float = 0.1
    seed: int = 0
    temperature: float = 0.7


def finetune(rows: Sequence[dict[str, str]], base: str, output: Path, tuning: Tuning, say: Callable[[str], None]) -> float:
    """rows: {input, edit, output}. Writes a plain folder to `output`; returns the mean loss of the last pass, nats a token.

    What is interrupted goes on from the last saved state beside the output. Raises EditError.
    """
    refuse_existing(output, force=False)
    model, tokenizer = load(base)
    version = fingerprint(model)
    if tokenizer.eos_token_id is None:
        raise EditError(f"{base} has no token that ends a text, so that it can't learn to stop.")
    trained = adapted(model, tuning)
    examples = [encoded(row, tokenizer) for row in rows]
    settings = {"base": Path(base).name, "version": version, "rows": rows_digest(rows), **asdict(tuning)}
    loss = train(trained, examples, tuning, folder_beside(output, settings), tokenizer.eos_token_id, say)
    save(trained, tokenizer, output, settings | {"loss": round(loss, 4)})
    remove(folder_beside(output, settings))
    return loss


def read_rows(name: str) -> list[dict[str, str]]:
    """name: a file of JSON lines with input, edit and output, or “seeds”. Raises EditError when it can't be read or a row lacks one."""
    file = SEEDS if name == "seeds" else Path(name)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e
    rows = []
    for number, line in enumerate(lines, 1):
        row = parse_object(line)
        if not all(isinstance(row.get(key), str) and row[key].strip() for key in ("input", "edit", "output")):
            raise EditError(f"Line {number} of {file} is no object with texts input, edit and output.")
        if any(mark in row[key] for key in ("input", "edit", "output") for mark in (*MARKS, "\n")):
            raise EditError(f"Line {number} of {file} has an end of line, ## or %% in a text, which separate the parts.")
        rows.append({key: row[key] for key in ("input", "edit", "output")})
    if not rows:
        raise EditError(f"{file} has no rows.")
    return rows


def adapted(model: Any, tuning: Tuning) -> Any:
    torch.manual_seed(tuning.seed)  # the adapters' first weights
    if not tuning.rank:
        return model.requires_grad_(True)
    from peft import LoraConfig, get_peft_model

    targets = "all-linear"
    return get_peft_model(model, LoraConfig(r=tuning.rank, lora_alpha=2 * tuning.rank, target_modules=targets, task_type="CAUSAL_LM"))


def encoded(row: dict[str, str], tokenizer: Any) -> tuple[list[int], list[int]]:
    """→ (tokens, labels): the loss is of the completion alone, with the token that ends it."""
    asked = tokenizer(start_of(tokenizer) + prompt(row["input"]), add_special_tokens=False)["input_ids"]
    answer = tokenizer(completion(row["edit"], row["output"]), add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return asked + answer, [LOSS_OF_NOTHING] * len(asked) + answer


def rows_digest(rows: Sequence[dict[str, str]]) -> str:
    text = json.dumps([[row["input"], row["edit"], row["output"]] for row in rows])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder_beside(output: Path, settings: dict[str, Any]) -> Path:
    """Of saved states: another one for other settings."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return output.with_name(f".{output.name}-{key}.states")


def order(lengths: Sequence[int], tuning: Tuning) -> list[list[int]]:
    """The rows of every step. Each pass has an order of its own, in which rows of about the same length stand together: less is filled up."""
    steps = []
    for number in range(tuning.passes):
        rng = random.Random(f"{tuning.seed} {number}")
        rows = rng.sample(range(len(lengths)), len(lengths))
        pools = [sorted(rows[i : i + POOL * tuning.batch], key=lengths.__getitem__) for i in range(0, len(rows), POOL * tuning.batch)]
        batches = [pool[i : i + tuning.batch] for pool in pools for i in range(0, len(pool), tuning.batch)]
        steps += rng.sample(batches, len(batches))
    return steps


def train(model: Any, examples: Sequence[tuple[list[int], list[int]]], tuning: Tuning, folder: Path, pad: int, say: Callable[[str], None]) -> float:  # fmt: skip
    """AdamW over all passes, its rate warmed up and lowered along a cosine. → mean loss of the last pass."""
    parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=tuning.learning_rate, weight_decay=0.0)
    steps = order([len(tokens) for tokens, _ in examples], tuning)
    done, losses = resume(folder, parameters, optimizer, say)
    shown = bar(len(steps), "step", done=done)
    model.train()
    try:
        for step in range(done, len(steps)):
            for group in optimizer.param_groups:
                group["lr"] = tuning.learning_rate * scheduled(step, len(steps), tuning.warmup)
            torch.manual_seed(tuning.seed + step)  # of dropout, where a model has it
            loss = model(**batch_of([examples[i] for i in steps[step]], pad)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            shown.set_postfix_str(f"loss {sum(losses[-20:]) / len(losses[-20:]):.3f}", refresh=False)
            shown.update()
            if (step + 1) % SAVE_EVERY == 0 and step + 1 < len(steps):
                tensors = {
                    "weights": {name: weight.detach() for name, weight in parameters.items()},
                    "optimizer": states.optimizer_tensors(optimizer),
                }
                states.write(folder, states.State(step + 1, tensors, {"losses": losses}), keep=1)
    finally:
        shown.close()
        model.eval()
    last = losses[-math.ceil(len(examples) / tuning.batch) :]
    return sum(last) / len(last)


def resume(folder: Path, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, say: Callable[[str], None]) -> tuple[int, list[float]]:  # fmt: skip
    """Fills weights and optimizer from the newest state. → (steps done, their losses)."""
    state = states.newest(folder, say)
    if state is None:
        return 0, []
    with torch.no_grad():
        for name, weight in parameters.items():
            weight.copy_(state.tensors["weights"][name])
    states.fill_optimizer(optimizer, state.tensors["optimizer"])
    say(f"Goes on after step {state.step}.")
    return state.step, list(state.numbers["losses"])


def scheduled(step: int, total: int, warmup: float) -> float:
    """In (0, 1]."""
    first = max(1, round(total * warmup))
    if step < first:
        return (step + 1) / first
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, total - first)))


def batch_of(examples: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """(rows, tokens) each, filled up on the right."""
    longest = max(len(tokens) for tokens, _ in examples)

    def filled(texts: Sequence[list[int]], filling: int) -> torch.Tensor:
        return torch.tensor([text + [filling] * (longest - len(text)) for text in texts])

    tokens = filled([tokens for tokens, _ in examples], pad)
    seen = filled([[1] * len(tokens) for tokens, _ in examples], 0)
    return {"input_ids": tokens, "attention_mask": seen, "labels": filled([labels for _, labels in examples], LOSS_OF_NOTHING)}


def save(model: Any, tokenizer: Any, output: Path, settings: dict[str, Any]) -> None:
    """The adapters merged into the weights; any server of such folders answers a caption in the paper's format, sampling."""
    if settings["rank"]:
        model = model.merge_and_unload()
    tokenizer.chat_template = CHAT.format(start=json.dumps(start_of(tokenizer)))
    model.generation_config.update(
        do_sample=True, temperature=settings["temperature"], top_p=1.0, top_k=0, max_new_tokens=256, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with written_whole(output) as beside, quiet():
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        (beside / TUNED).write_text(json.dumps(settings, indent=2), encoding="utf8")
