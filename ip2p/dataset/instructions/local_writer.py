"""A language model on this machine, through transformers: rows in batches, greedy or sampled by each row's own seed."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ...errors import EditError
from . import few_shot, paper_format
from .language_model import fingerprint, is_tuned, load, quiet
from .triplets import Answer, Ask


@dataclass(frozen=True)
class Options:
    """temperature: 0 is greedy. batch: rows at a time. max_tokens: of an answer. examples: shown to a model that was not fine-tuned."""

    temperature: float = 0.7
    batch: int = 16
    max_tokens: int = 256
    examples: int = few_shot.EXAMPLES


class LocalWriter:
    """Gives the same rows, byte for byte, at one batch size and number of threads: what is finished of a batch is written with it again.
    At others a rounding may turn the choice between two tokens of nearly the same weight."""

    def __init__(self, name: str, options: Options):
        """name: as `language_model.load` takes it. Raises EditError as it does."""
        self.options, self.tuned = options, is_tuned(name)
        self.network, self.tokenizer = load(name)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if self.tokenizer.pad_token_id is None:
            raise EditError(f"{name} has no token that ends a text.")
        self.model, self.version = name.rstrip("/").rpartition("/")[2], fingerprint(self.network)
        self.prompt = tuned_prompt() if self.tuned else few_shot.digest("text", options.examples)
        self.tokens = 0

    def write(self, asks: Iterable[Ask], finished: Container[str]) -> Iterator[tuple[Ask, Answer]]:
        asks = iter(asks)
        while batch := list(islice(asks, self.options.batch)):
            missing = [ask.id not in finished for ask in batch]
            if any(missing):
                yield from (pair for pair, is_missing in zip(zip(batch, self.answers(batch)), missing) if is_missing)

    def note(self) -> str:
        return f"{self.tokens:,} tokens"

    def text_of(self, ask: Ask) -> str:
        return paper_format.prompt(ask.caption.text) if self.tuned else few_shot.as_text(ask, self.options.examples)

    def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        """Raises EditError where a prompt is longer than the model reads."""
        read = self.tokenizer([self.text_of(ask) for ask in asks], return_tensors="pt", padding=True, add_special_tokens=False)
        width, most = read["input_ids"].shape[1], self.options.max_tokens
        longest = getattr(self.network.config, "max_position_embeddings", None) or width + most
        if width + most > longest:
            raise EditError(
                f"{self.model} reads {longest} tokens, and {width} with {most} to write are more: lower --max-tokens or --examples."
            )
        with torch.inference_mode(), quiet():
            written = self.network.generate(
                input_ids=read["input_ids"],
                attention_mask=read["attention_mask"],
                generation_config=self.generation_config(),
                logits_processor=[Draw(asks, self.options.temperature)] if self.options.temperature else [],
                tokenizer=self.tokenizer,
            )[:, width:]
        answers = []
        for row, mask in zip(written, read["attention_mask"]):
            tokens = row[: ends_at(row.tolist(), self.tokenizer.eos_token_id)]
            text = self.tokenizer.decode(tokens, skip_special_tokens=True)
            answers.append(Answer(text, tokens=(int(mask.sum()), len(tokens))))
            self.tokens += len(tokens)
        return answers

    def generation_config(self) -> Any:
        """Greedy, for what is drawn is added to the logits; none of the settings that the model brings."""
        from transformers import GenerationConfig

        return GenerationConfig(
            max_new_tokens=self.options.max_tokens,
            do_sample=False,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
            stop_strings=[paper_format.STOP],
        )


class Draw:
    """Adds Gumbel noise to logits, of each row's own seed: the largest is then a sample of the softmax at the temperature, whatever other
    rows are in the batch (Gumbel-max; Maddison et al., arXiv 1411.0030)."""

    def __init__(self, asks: Sequence[Ask], temperature: float):
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(ask.seed) for ask in asks]

    def __call__(self, tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """logits: (rows, vocabulary)."""
        uniform = torch.stack([torch.rand(logits.shape[1], generator=generator, dtype=torch.float64) for generator in self.generators])
        return logits / self.temperature - torch.log(-torch.log(uniform.clamp(1e-300))).to(logits)


def ends_at(tokens: Sequence[int], eos: int | None) -> int:
    """How many come before the one that ends the text."""
    return tokens.index(eos) if eos in tokens else len(tokens)


def tuned_prompt() -> str:
    return hashlib.sha256(f"{paper_format.PROMPT_END}{paper_format.BETWEEN}{paper_format.STOP}".encode()).hexdigest()[:16]
