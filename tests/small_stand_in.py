"""The small checkpoint of the package where it is there; else a random stand-in of its layout, which proves equality, never quality."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from ip2p import small
from ip2p.convert import folder_to_file
from ip2p.training.config import Model
from ip2p.training.networks import Networks, new_text_encoder, new_tokenizer, new_unet, new_vae

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ["make it winter", "turn the sky into a sunset", "as a pencil drawing, please", "make the cat blue"] * 4
EXTENSION = ("ip2p", "scripts", "javascript", "style.css", "install.py")


def make_stand_in(file: Path) -> Path:
    """Writes file, its yaml and its .clip folder as the export writes them: fp16, norm_groups 8, a vocabulary of its own."""
    model = Model()
    model.vae.channels, model.vae.layers, model.vae.groups = [32, 32, 64, 64], 1, 8
    model.unet.channels, model.unet.layers, model.unet.attention, model.unet.heads = [64, 128], 1, [0, 1], 4
    model.text.width, model.text.layers, model.text.heads = 64, 2, 4
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = new_tokenizer(TEXTS, 560)
        networks = Networks(new_vae(model), tokenizer, new_text_encoder(model, tokenizer), new_unet(model, 8))
        for network in (networks.vae, networks.text_encoder, networks.unet):
            for name, value in network.named_parameters():
                with torch.no_grad():
                    if not value.any():  # what begins at zero adds nothing to a picture
                        value.normal_(0, 0.02)
                    elif name.endswith("token_embedding.weight"):
                        value.mul_(20)  # random token embeddings are tiny: make words differ
    with tempfile.TemporaryDirectory() as beside:
        networks.save(Path(beside) / "model")
        file.parent.mkdir(parents=True, exist_ok=True)
        folder_to_file(Path(beside) / "model", file, half=True, force=True)
    write_vocabulary(tokenizer, file.with_suffix(".clip"))
    return file


def write_vocabulary(tokenizer: CLIPTokenizer, folder: Path) -> None:
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf8")
    (folder / "tokenizer.json").unlink(missing_ok=True)


def extension_with_small(folder: Path) -> Path:
    """A copy of the extension that has the small checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in EXTENSION:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, folder / name)
    if not small.is_there():
        make_stand_in(folder / "ip2p" / "small" / "small.safetensors")
    return folder
