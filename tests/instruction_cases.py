"""Language models as small as they get, and rows and captions for them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ip2p.dataset.instructions.few_shot import seed_rows
from ip2p.dataset.instructions.paper_format import BETWEEN, PROMPT_END, STOP, completion, prompt

END_OF_TEXT = "<|end|>"
THINGS = ("dog", "cat", "lake", "tower", "chair", "road", "horse", "boat")
CHANGES = ("make it winter", "paint it red", "add a rainbow", "turn it to stone")
CAPTIONS = [f"a {thing} {place}" for place in ("at noon", "in the rain") for thing in THINGS]
ROWS = [
    {"input": f"a {thing} {place}", "edit": CHANGES[i % 4], "output": f"a {thing} {place}, {CHANGES[i % 4].split()[-1]}"}
    for i, (thing, place) in enumerate((thing, place) for thing in THINGS for place in ("at noon", "by night"))
]


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, with words of the seed rows."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    texts = [prompt(row["input"]) + completion(row["edit"], row["output"]) for row in [*ROWS, *seed_rows()[:100]]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(texts + [PROMPT_END, BETWEEN, STOP] * 50, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END_OF_TEXT)


def save_tiny(folder: Path, seed: int = 0) -> Path:
    """A random language model of 0.1 M weights."""
    words = tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=2048, bos_token_id=None, eos_token_id=words.eos_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def write_captions(file: Path, captions: list[str] = CAPTIONS) -> Path:
    file.write_text("".join(f"{caption}\n" for caption in captions), encoding="utf8")
    return file
