"""Builds a small random checkpoint that a real WebUI loads. Run it with the WebUI's own Python:

    venv/bin/python make_checkpoint.py WEBUI_FOLDER OUTPUT.safetensors [--in-channels 8] [--width 32] [--seed 0]

Beside OUTPUT.safetensors it writes OUTPUT.yaml (the configuration of that small model, which the WebUI looks for) and
OUTPUT.clip/ (a CLIP text configuration and CLIP's BPE vocabulary, taken from the installed `open_clip`).
A random network proves equality and speed, never quality.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("webui", type=Path)
parser.add_argument("output", type=Path)
parser.add_argument("--in-channels", type=int, default=8, help="8: an edit model; 4: a plain one")
parser.add_argument("--width", type=int, default=32, help="channels of the UNet's first level")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--parameterization", choices=("eps", "v"), default="eps")
parser.add_argument("--sdxl", action="store_true", help="an SDXL network with one text encoder")
args = parser.parse_args()

repositories = args.webui / "repositories"
sys.path[:0] = [str(repositories / "stable-diffusion-stability-ai"), str(repositories / "generative-models"), str(args.webui)]

import open_clip  # noqa: E402
import torch  # noqa: E402
from ldm.models.autoencoder import AutoencoderKL  # noqa: E402
from ldm.modules.diffusionmodules.openaimodel import UNetModel  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

torch.manual_seed(args.seed)
TEXT_WIDTH = 64

unet = dict(
    image_size=32,
    in_channels=args.in_channels,
    out_channels=4,
    model_channels=args.width,
    attention_resolutions=[2, 1],
    num_res_blocks=1,
    channel_mult=[1, 2],
    num_heads=4,
    use_spatial_transformer=True,
    transformer_depth=1,
    context_dim=TEXT_WIDTH,
    use_checkpoint=False,
    legacy=False,
)
vae = dict(
    embed_dim=4,
    ddconfig=dict(
        double_z=True,
        z_channels=4,
        resolution=256,
        in_channels=3,
        out_ch=3,
        ch=32,
        ch_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        attn_resolutions=[],
        dropout=0.0,
    ),
    lossconfig=dict(target="torch.nn.Identity"),
)
clip_folder = args.output.with_suffix(".clip").resolve()
clip_folder.mkdir(parents=True, exist_ok=True)
text = CLIPTextConfig(
    hidden_size=TEXT_WIDTH,
    intermediate_size=4 * TEXT_WIDTH,
    num_hidden_layers=2,
    num_attention_heads=4,
    vocab_size=49408,
    max_position_embeddings=77,
    projection_dim=TEXT_WIDTH,
)

# The BPE vocabulary as `transformers` wants it: vocab.json and merges.txt, in CLIP's own order.
bpe = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
merges = gzip.decompress(bpe.read_bytes()).decode("utf8").split("\n")[1 : 49152 - 256 - 2 + 1]
bytes_ = list(open_clip.tokenizer.bytes_to_unicode().values())
vocabulary = bytes_ + [b + "</w>" for b in bytes_] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
(clip_folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(vocabulary)}), encoding="utf8")
(clip_folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf8")
(clip_folder / "tokenizer_config.json").write_text(
    json.dumps(
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": 77,
            "unk_token": "<|endoftext|>",
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
        }
    )
)

TEXT = "conditioner.embedders.0.transformer." if args.sdxl else "cond_stage_model.transformer."
if args.sdxl:
    from sgm.modules.diffusionmodules.openaimodel import UNetModel

    SIZE_WIDTH = 16
    unet.pop("image_size")
    unet.update(num_classes="sequential", adm_in_channels=6 * SIZE_WIDTH, use_linear_in_transformer=True)
networks = {
    "model.diffusion_model.": UNetModel(**unet),
    "first_stage_model.": AutoencoderKL(**vae),
    TEXT: CLIPTextModel(text),
}
networks[TEXT].save_pretrained(clip_folder)
with torch.no_grad():
    for network in networks.values():
        for parameter in network.parameters():
            # Zero-initialised output layers would make every prediction zero, and a test of the guidance prove nothing.
            if parameter.ndim > 1 and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.5 / parameter[0].numel() ** 0.5)
    # Without a mean, long or weighted prompts divide by zero in the WebUI's emphasis.
    networks[TEXT].text_model.final_layer_norm.bias.fill_(0.1)
    # Random token embeddings are tiny: make words differ, so that another prompt is another picture.
    networks[TEXT].text_model.embeddings.token_embedding.weight.mul_(20)
    # The WebUI samples the posterior from the global generator: leave it nothing to sample.
    quant = networks["first_stage_model."].quant_conv
    quant.weight[4:] = 0
    quant.bias[4:] = -30.0

state = {
    prefix + k: v.half().contiguous() if v.is_floating_point() else v
    for prefix, network in networks.items()
    for k, v in network.state_dict().items()
}
metadata = {"modelspec.title": f"random test model, {args.in_channels} input channels"}
save_file(state, args.output, metadata=metadata)

if args.sdxl:
    config = OmegaConf.load(repositories / "generative-models" / "configs" / "inference" / "sd_xl_base.yaml")
    params = config.model.params
    params.network_config.params = unet
    embedder, *_, size, crop, target = params.conditioner_config.params.emb_models
    embedder.params = {"layer": "hidden", "layer_idx": 1, "version": str(clip_folder), "device": "cpu"}
    for vector in (size, crop, target):
        vector.params.outdim = SIZE_WIDTH
    params.conditioner_config.params.emb_models = [embedder, size, crop, target]
else:
    config = OmegaConf.load(args.webui / "configs" / ("instruct-pix2pix.yaml" if args.in_channels == 8 else "v1-inference.yaml"))
    params = config.model.params
    params.parameterization = args.parameterization
    if args.parameterization == "v":  # which the WebUI's own class for edit models does not know
        config.model.target = "ldm.models.diffusion.ddpm.LatentDiffusion"
    params.unet_config.params = unet
    params.cond_stage_config.params = {"version": str(clip_folder), "device": "cpu"}
    for key in ("scheduler_config", "ckpt_path"):
        params.pop(key, None)
params.first_stage_config.params = vae
config.pop("data", None)
OmegaConf.save(config, args.output.with_suffix(".yaml"))
print(f"{args.output}: {sum(v.numel() for v in state.values()) / 1e6:.1f} M parameters")
