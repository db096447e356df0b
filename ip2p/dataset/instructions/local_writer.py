"""A language model of one's own, through transformers: rows in batches, greedy or sampled by each row's own seed."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ...errors import EditError
from ...files import why
from ...runners import EndsTheProcess, EndsTheRun, on_device
from . import few_shot, paper_format
from .language_model import fingerprint, is_tuned, load, quiet, start_of
from .triplets import Answer, Ask, plain


@dataclass(frozen=True)
class Options:
    """temperature: 0 is greedy. batch: rows at a time. max_tokens: of an answer. examples: shown to a model that was not fine-tuned.
    candidates: answers drawn for each row, of which the model's likeliest edit is taken."""

    temperature: float = 0.7
    batch: int = 16
    max_tokens: int = 256
    examples: int = few_shot.EXAMPLES
    candidates: int = 1


class LocalWriter:
    """Gives the same rows, byte for byte, at one batch size and number of threads: what is finished of a batch is written with it again.
    At others a rounding may turn the choice between two tokens of nearly the same weight."""

    def __init__(self, name: str, options: Options, device: str | None = "cpu"):
        """name: as `language_model.load` takes it. device: as torch names it; None: CUDA where there is one. Raises EditError as it does."""
        self.options, self.tuned = options, is_tuned(name)
        self.network, self.tokenizer = load(name)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network.to(self.device)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if self.tokenizer.pad_token_id is None:
            raise EditError(f"{name} has no token that ends a text.")
        self.model, self.version = name.rstrip("/").rpartition("/")[2], fingerprint(self.network)
        self.prompt = tuned_prompt() if self.tuned else few_shot.digest("text", options.examples)
        self.tokens = 0

    def write(self, asks: Iterable[Ask], finished: Container[str]) -> Iterator[tuple[Ask, Answer]]:
        for batch in unfinished(asks, finished, self.options.batch):
            yield from missing(batch, self.answers_or_problems(batch), finished)

    def spent(self, read: int, written: int) -> None:
        self.tokens = written

    def note(self) -> str:
        return f"{self.tokens:,} tokens written"

    def text_of(self, ask: Ask) -> str:
        if self.tuned:
            return start_of(self.tokenizer) + paper_format.prompt(ask.caption.text)
        return few_shot.as_text(ask, self.options.examples)

    def answers_or_problems(self, asks: Sequence[Ask]) -> list[Answer]:
        """A batch that the tokenizer or the network fails at gets no answers, but the reason. Raises EndsTheRun and EndsTheProcess as
        `answers` does."""
        try:
            return self.answers(asks)
        except (EndsTheRun, EndsTheProcess):
            raise
        except Exception as e:  # whatever they make of a text
            return problems(asks, why(e))

    def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        """Raises EndsTheRun where a prompt is longer than the model reads, and where the memory is too small; and EndsTheProcess."""
        options = self.options
        read = self.tokenizer([self.text_of(ask) for ask in asks], return_tensors="pt", padding=True, add_special_tokens=False)
        width = read["input_ids"].shape[1]
        longest = getattr(self.network.config, "max_position_embeddings", None) or width + options.max_tokens
        if width + options.max_tokens > longest:
            raise EndsTheRun(
                f"{self.model} reads {longest} tokens, and {width} with {options.max_tokens} to write are more: lower --max-tokens or --examples."
            )
        draw = Draw([ask.seed + i for ask in asks for i in range(options.candidates)], options.temperature)
        try:
            with torch.inference_mode(), quiet(), on_device():
                written = self.network.generate(
                    input_ids=read["input_ids"].repeat_interleave(options.candidates, 0).to(self.device),
                    attention_mask=read["attention_mask"].repeat_interleave(options.candidates, 0).to(self.device),
                    generation_config=self.generation_config(),
                    logits_processor=[draw],
                    tokenizer=self.tokenizer,
                )[:, width:]
        except torch.OutOfMemoryError as e:
            raise EndsTheRun("Not enough memory for the batch: choose a smaller --batch or --candidates.") from e
        texts = []
        for row, likelihoods in zip(written.tolist(), draw.likelihoods()):
            tokens = row[: ends_at(row, self.tokenizer.eos_token_id)]
            texts.append((self.tokenizer.decode(tokens, skip_special_tokens=True), likelihoods[: len(tokens) + 1].mean().item()))
            self.tokens += len(tokens)
        lengths = read["attention_mask"].sum(1).tolist()
        groups = [texts[i : i + options.candidates] for i in range(0, len(texts), options.candidates)]
        return [Answer(likeliest(ask, group), tokens=(length, self.tokens_of(group))) for ask, group, length in zip(asks, groups, lengths)]

    def tokens_of(self, group: Sequence[tuple[str, float]]) -> int:
        return sum(len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text, _ in group)

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
    rows are in the batch (Gumbel-max; Maddison et al., arXiv 1411.0030). At temperature 0 it adds nothing."""

    def __init__(self, seeds: Sequence[int], temperature: float):
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        self.chosen: list[torch.Tensor] = []

    def __call__(self, tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """logits: (rows, vocabulary)."""
        noised = logits
        if self.temperature:
            waits = torch.stack([torch.empty(logits.shape[1]).exponential_(generator=generator) for generator in self.generators])
            noised = logits / self.temperature - waits.clamp_(torch.finfo().tiny).log_().to(logits.device)
        self.chosen.append(logits.log_softmax(-1).gather(1, noised.argmax(-1, keepdim=True))[:, 0])
        return noised

    def likelihoods(self) -> torch.Tensor:
        """Of each token that was chosen, by the model without temperature: (rows, tokens), logarithms; some after a row's end."""
        return torch.stack(self.chosen, 1)


def unfinished(asks: Iterable[Ask], finished: Container[str], size: int) -> Iterator[list[Ask]]:
    """The batches of which one row at least is not finished: the same ones in every run, so that a row's neighbours are."""
    asks = iter(asks)
    while batch := list(islice(asks, size)):
        if any(ask.id not in finished for ask in batch):
            yield batch


def missing(batch: Sequence[Ask], answers: Sequence[Answer], finished: Container[str]) -> Iterator[tuple[Ask, Answer]]:
    return ((ask, answer) for ask, answer in zip(batch, answers) if ask.id not in finished)


def problems(asks: Sequence[Ask], problem: str) -> list[Answer]:
    return [Answer(problem=problem) for _ in asks]


def likeliest(ask: Ask, candidates: Sequence[tuple[str, float]]) -> str:
    """Of those that are an edit, the text with the highest mean likelihood of a token; of none the first."""

    def is_edit(text: str) -> bool:
        parts = paper_format.parsed(text)
        return parts is not None and plain(parts[1]) != plain(ask.caption.text)

    edits = [(likelihood, text) for text, likelihood in candidates if is_edit(text)]
    return max(edits)[1] if edits else candidates[0][0]


def ends_at(tokens: Sequence[int], eos: int | None) -> int:
    """How many come before the one that ends the text."""
    return tokens.index(eos) if eos in tokens else len(tokens)


def tuned_prompt() -> str:
    return hashlib.sha256(f"{paper_format.PROMPT_END}{paper_format.BETWEEN}{paper_format.STOP}".encode()).hexdigest()[:16]
