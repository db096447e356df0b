"""The networks of a run: from nothing, from an existing model, from four input channels to eight; and what goes with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ConfigMixin, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig

from ..checkpoints import ldm
from ..checkpoints.clip import MERGES, TOKENIZER, VOCABULARY, as_clip_reads
from ..checkpoints.convert import FOLDER_FILES, model_index, read_json, write_json
from ..checkpoints.defaults import FOLDER_FILE
from ..checkpoints.load import load_networks
from ..checkpoints.recognise import EDIT_CHANNELS
from ..editor import TRAINED, Editor
from ..errors import EditError
from ..files import why, written_whole
from .config import Model, Text, Vae

START, END = str(TOKENIZER["bos_token"]), str(TOKENIZER["eos_token"])
TOKENS = 77
NARROW = -6.0  # log of the variance
UNREADABLE = (OSError, ValueError, RuntimeError, SafetensorError)  # what diffusers and transformers raise for a folder that can't be read


@dataclass(frozen=True)
class Networks:
    """Those that are there already, None for the others; a stage adds what it trains.

    Typed as Any, because diffusers and transformers don't declare much of what these classes have.
    """

    vae: Any = None  # AutoencoderKL
    tokenizer: Any = None  # CLIPTokenizer
    text_encoder: Any = None  # CLIPTextModel
    unet: Any = None  # UNet2DConditionModel
    clip: Any = None  # CLIPModel

    def save(self, folder: Path, said: dict[str, str] | None = None) -> None:
        """A diffusers folder, as far as the networks are there, with what it says of itself (`checkpoints.defaults`). Raises EditError for
        a full disk."""
        if self.tokenizer is not None:  # it keeps how it was called last
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()
        with written_whole(folder, force=True, ours=FOLDER_FILES) as beside:
            for part in fields(self):
                if network := getattr(self, part.name):
                    try:
                        network.save_pretrained(beside / part.name)
                    except SafetensorError as e:
                        raise OSError(why(e)) from e
                    if isinstance(network, ConfigMixin):  # where it was read from stays private
                        config = beside / part.name / "config.json"
                        write_json(config, {key: value for key, value in read_json(config).items() if key != "_name_or_path"})
            if self.tokenizer is not None:
                write_vocabulary(self.tokenizer, beside / "tokenizer")
                if self.clip is not None:  # so that it can be named as a scorer by itself
                    write_vocabulary(self.tokenizer, beside / "clip")
            schedule: dict[str, Any] = {**TRAINED, "prediction_type": "epsilon"}
            scheduler: Any = DDIMScheduler(**schedule)
            scheduler.save_pretrained(beside / "scheduler")
            if self.unet is not None:
                write_json(beside / "model_index.json", model_index(self.unet.config.in_channels))
            if said:
                write_json(beside / FOLDER_FILE, said)

    @classmethod
    def read(cls, folder: Path) -> Networks:
        """What `save` wrote. Raises EditError when it can't be read."""
        classes: dict[str, Any] = {
            "vae": AutoencoderKL, "tokenizer": CLIPTokenizer, "text_encoder": CLIPTextModel, "unet": UNet2DConditionModel, "clip": CLIPModel
        }  # fmt: skip
        present = {name: kind for name, kind in classes.items() if (folder / name).is_dir()}
        try:
            return cls(**{name: kind.from_pretrained(folder / name, local_files_only=True) for name, kind in present.items()})
        except UNREADABLE as e:
            raise EditError(f"{folder} can't be read ({why(e)}): remove it, and it is made again from the last saved state.") from e

    @classmethod
    def start(cls, model: str) -> Networks:
        """A diffusers folder, an LDM file or a name on the hub, of SD 1.x's kind."""
        loaded = load_networks(model)
        if loaded["prediction_type"] != "epsilon":
            raise EditError(f"{loaded['name']} predicts v; training starts from models that predict the noise, as SD 1.x does.")
        networks = cls(**{part.name: loaded[part.name] for part in fields(cls) if part.name in loaded})
        for network in (networks.vae, networks.text_encoder, networks.unet):
            torch.nn.Module.float(network)  # trained in fp32 whatever the file's precision
        return networks

    def editor(self, name: str = "model") -> Editor:
        """An editor with these networks, all of which are there."""
        return Editor(self.unet, self.vae, self.text_encoder, self.tokenizer, name=name)

    def with_(self, **parts: Any) -> Networks:
        return replace(self, **parts)

    def with_vae_of(self, vae: Vae) -> Networks:
        """With the autoencoder that it starts from. Raises EditError."""
        try:
            network: Any = AutoencoderKL.from_pretrained(Path(vae.start).expanduser(), local_files_only=True)
        except UNREADABLE as e:
            raise EditError(f"model.vae.start: {vae.start} can't be read as an autoencoder ({why(e)}).") from e
        if (channels := list(network.config.block_out_channels)) != vae.channels:
            raise EditError(f"model.vae.start: the autoencoder of {vae.start} has other channels: set model.vae.channels={channels}.")
        torch.nn.Module.float(network)  # trained in fp32 whatever the file's precision
        return self.with_(vae=network)

    def with_text_of(self, text: Text) -> Networks:
        """With the text encoder and the vocabulary of the CLIP that it starts from. Raises EditError."""
        folder = Path(text.start).expanduser()
        try:
            text_encoder: Any = CLIPTextModel.from_pretrained(folder, local_files_only=True)
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except UNREADABLE as e:
            raise EditError(f"model.text.start: {text.start} can't be read as a CLIP ({why(e)}).") from e
        if (width := text_encoder.config.hidden_size) != text.width:
            raise EditError(f"model.text.start: the text encoder of {text.start} is {width} wide: set model.text.width={width}.")
        torch.nn.Module.float(text_encoder)  # trained in fp32 whatever the file's precision
        return self.with_(tokenizer=tokenizer, text_encoder=text_encoder)


def new_vae(model: Model) -> AutoencoderKL:
    """An autoencoder that begins nearly linear and nearly without noise, so that it finds the colours first: residual branches
    are zero (as Goyal et al., arXiv 1706.02677, begin theirs) and the posterior is narrow."""
    shape = model.vae
    levels = len(shape.channels)
    vae: Any = AutoencoderKL(
        block_out_channels=tuple(shape.channels),
        layers_per_block=shape.layers,
        norm_num_groups=shape.groups,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        sample_size=256,
    )
    zero(vae, "conv2", "to_out.0")
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = NARROW
    return vae


def new_unet(model: Model, channels: int) -> UNet2DConditionModel:
    """A UNet that begins as LDM's own code begins it, its residual branches and its output zero; diffusers does not."""
    shape = model.unet
    attends = [level in shape.attention for level in range(len(shape.channels))]
    unet: Any = UNet2DConditionModel(
        sample_size=32,
        in_channels=channels,
        block_out_channels=tuple(shape.channels),
        layers_per_block=shape.layers,
        norm_num_groups=shape.groups,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        attention_head_dim=shape.heads,  # heads, in spite of its name
        cross_attention_dim=model.text.width,
    )
    zero(unet, "conv2", "proj_out", "conv_out")
    return unet


@torch.no_grad()
def zero(network: torch.nn.Module, *endings: str) -> None:
    """Zeroes weight and bias of the modules whose names end like this."""
    for name, module in network.named_modules():
        if name.endswith(endings):
            module.weight.zero_()
            module.bias.zero_()


def check_shapes(model: Model, exported: bool) -> None:
    """Raises EditError, before hours of training, for networks that can't be built, or not `exported` as a checkpoint."""
    try:
        with torch.device("meta"):
            vae: Any = new_vae(model)
            unet: Any = new_unet(model, EDIT_CHANNELS)
            CLIPTextModel(CLIPTextConfig(hidden_size=model.text.width, num_attention_heads=model.text.heads, num_hidden_layers=1))
    except Exception as e:  # diffusers and transformers raise nearly anything for a wrong configuration
        raise EditError(f"model describes networks that can't be built: {why(e)}.") from e
    if exported:
        ldm.check(unet.config, vae.config)


def new_text_encoder(model: Model, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text encoder in the model's shape, with the tokenizer's vocabulary."""
    return CLIPTextModel(text_config(model, tokenizer, model.text.width))


def new_clip(model: Model, tokenizer: CLIPTokenizer, side: int) -> CLIPModel:
    """Both encoders of CLIP. side: of the pictures that it reads, in pixels."""
    shape = model.clip
    vision = CLIPVisionConfig(
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        image_size=side,
        patch_size=shape.patch,
        projection_dim=shape.projection,
    )
    text = text_config(model, tokenizer, shape.projection)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=shape.projection))


def text_config(model: Model, tokenizer: CLIPTokenizer, projection: int) -> CLIPTextConfig:
    shape = model.text
    return CLIPTextConfig(
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        vocab_size=len(tokenizer),
        max_position_embeddings=TOKENS,
        projection_dim=projection,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def new_tokenizer(texts: Iterable[str], vocabulary: int) -> CLIPTokenizer:
    """CLIP's kind of byte-pair encoding, learned from the texts: any text can be written with it.

    Laid out as CLIP's: every byte, every byte at a word's end, the merges, then start and end; at most `vocabulary` of them.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    letters: list[str] = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]["merges"]
    merges: list[Any] = [tuple(merge.split() if isinstance(merge, str) else merge) for merge in learned][
        : max(vocabulary - 2 * len(letters) - 2, 0)
    ]
    words: list[str] = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge) for merge in merges), START, END]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges, model_max_length=TOKENS)


def write_vocabulary(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """In the two files that every transformers reads, the WebUI's too; today's writes another one."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / VOCABULARY).write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf8")
    (folder / MERGES).write_text("\n".join(["#version: 0.2", *merges]), encoding="utf8")


def widened(unet: Any, channels: int = EDIT_CHANNELS) -> UNet2DConditionModel:
    """The UNet with more input channels: weight and bias of `conv_in` kept, new channels zero (paper, 3.2), so that it
    predicts what it did whatever the new channels hold. Equal to the given one when it has that many channels already."""
    if unet.config.in_channels == channels:
        return unet
    if unet.config.in_channels > channels:
        raise EditError(f"The model to start from has {unet.config.in_channels} input channels, and this stage trains one with {channels}.")
    with torch.device("meta"):  # no memory and no time for weights that are replaced
        wide: Any = UNet2DConditionModel.from_config({**unet.config, "in_channels": channels})
    state = unet.state_dict()
    narrow = state["conv_in.weight"]
    weight = narrow.new_zeros(narrow.shape[0], channels, *narrow.shape[2:])
    weight[:, : narrow.shape[1]] = narrow
    wide.load_state_dict({**state, "conv_in.weight": weight}, assign=True)
    return wide


def fingerprint(*networks: Any) -> str:
    """Of weights and configuration: another one when any weight is another."""
    digest = hashlib.sha256()
    for network in networks:
        config = network.config if isinstance(network.config, dict) else network.config.to_dict()
        digest.update(str(sorted((key, str(value)) for key, value in config.items() if not key.startswith("_"))).encode())
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def token_ids(tokenizer: CLIPTokenizer, text: str) -> torch.Tensor:
    """(77,): padded with the end token and cut there, as CLIP's are."""
    return torch.tensor(tokenizer(as_clip_reads(text), padding="max_length", max_length=TOKENS, truncation=True).input_ids)
