"""Small random models of diffusers' and transformers' networks. They prove equality and speed, never quality."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ip2p.checkpoints.clip import STANDARD, tokenizer
from ip2p.edit import Edit
from ip2p.editor import DiffusionModel, Editor
from ip2p.editor.samplers import scheduler_of

TEXT_WIDTH = 32


@cache
def tiny_tokenizer() -> CLIPTokenizer:
    """CLIP's own where open_clip is installed, else one whose tokens are letters."""
    found = importlib.util.find_spec("open_clip")
    if found is not None:
        return tokenizer(Path(found.origin).with_name("bpe_simple_vocab_16e6.txt.gz"), STANDARD["vocab_size"])
    letters = [chr(i) for i in range(33, 127)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)


def tiny_editor(width: int = 16, seed: int = 0, channels: int = 8, prediction_type: str = "epsilon") -> Editor:
    """As `tiny_networks`."""
    return Editor(**tiny_networks(width, seed, channels), name="tiny", prediction_type=prediction_type)


def tiny_networks(width: int = 16, seed: int = 0, channels: int = 8) -> dict[str, Any]:
    """width: channels of the UNet's first level. Pictures are 8 times the latent, as Stable Diffusion's are."""
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=channels,
            block_out_channels=(width, 2 * width),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=2,
            cross_attention_dim=TEXT_WIDTH,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            latent_channels=4,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=TEXT_WIDTH,
                intermediate_size=2 * TEXT_WIDTH,
                num_hidden_layers=2,
                num_attention_heads=2,
                vocab_size=len(tokenizer),
                projection_dim=TEXT_WIDTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
        with torch.no_grad():
            for name, parameter in text.named_parameters():
                if name.endswith("token_embedding.weight"):
                    parameter.mul_(20)  # random token embeddings are tiny: make words differ
    return {"unet": unet, "vae": vae, "text_encoder": text, "tokenizer": tokenizer}


def save_folder(model: DiffusionModel, folder: Path) -> None:
    """Writes a diffusers folder, which `Editor.load` reads, or that of a text-to-image model."""
    for name in ("unet", "vae", "text_encoder", "tokenizer"):
        getattr(model, name).save_pretrained(folder / name)
    edit = Edit(image=Image.new("RGB", (64, 64)), instruction="x")
    scheduler_of(edit, model.prediction_type).save_pretrained(folder / "scheduler")


if __name__ == "__main__":
    save_folder(tiny_editor(), Path(sys.argv[1]))
