"""Prompt-to-Prompt as InstructPix2Pix has it: for the first share of the steps, the second picture attends to itself as the first does.

After Hertz et al. (arXiv 2208.01626), whose cross-attention is left alone here: Brooks et al. (arXiv 2211.09800, `generate_img_dataset.py`)
put the first picture's logits in place of the second's in every self-attention layer, in both halves of the guidance. Equal logits are equal
queries and keys, so that the second picture takes those of the first and keeps its own values: softmax(Q₁·K₁ᵀ/√d)·V₂.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from einops import rearrange


class SharedAttention:
    """Which rows of the network's input take their queries and keys from which, until it is told otherwise: None for each from itself."""

    def __init__(self) -> None:
        self.source: torch.Tensor | None = None


class SelfAttention:
    """diffusers' attention processor for the self-attention of a transformer block, whose queries and keys may be another row's."""

    def __init__(self, shared: SharedAttention):
        self.shared = shared

    def __call__(self, attention: Attention, hidden_states: torch.Tensor, *_, **__) -> torch.Tensor:
        """hidden_states: (rows, places, channels)."""
        source = self.shared.source
        looked_at = hidden_states if source is None else hidden_states[source]
        query, key, value = (
            rearrange(x, "b n (h d) -> b h n d", h=attention.heads)
            for x in (attention.to_q(looked_at), attention.to_k(looked_at), attention.to_v(hidden_states))
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        linear, dropout = attention.to_out
        return dropout(linear(rearrange(mixed, "b h n d -> b n (h d)")))


@contextmanager
def shared_attention(unet: torch.nn.Module) -> Iterator[SharedAttention]:
    """Within the block the network's self-attention layers do as the `SharedAttention` says; after it they are as they were."""
    shared = SharedAttention()
    layers = [block.attn1 for block in unet.modules() if isinstance(block, BasicTransformerBlock) and not block.only_cross_attention]
    before = [layer.processor for layer in layers]
    try:
        for layer in layers:
            layer.set_processor(SelfAttention(shared))
        yield shared
    finally:
        for layer, processor in zip(layers, before):
            layer.set_processor(processor)


def shares_at(step: int, steps: int, threshold: float) -> bool:
    """Whether the second picture follows the first at `step`, counted from 0: while p > i/(steps − 1).

    threshold: p in [0, 1]. 0 never does; 1 does at all steps but the last.
    """
    return threshold > step / max(steps - 1, 1)


def source_rows(shares: Sequence[bool], halves: int = 2) -> torch.Tensor | None:
    """Of a batch of n pairs, as `SharedAttention` takes it; None where no pair shares.

    shares: of every pair whether its second picture follows the first. The network's rows are, of each half of the guidance in turn, the n first pictures and then
    the n second ones; of one pair (u₀, u₁, c₀, c₁) with rows 0, 0, 2, 2 as sources.
    """
    if not any(shares):
        return None
    pairs = len(shares)
    rows = torch.arange(2 * halves * pairs).reshape(halves, 2, pairs)
    rows[:, 1] = torch.where(torch.tensor(shares), rows[:, 0], rows[:, 1])
    return rows.flatten()
