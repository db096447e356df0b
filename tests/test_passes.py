"""Our guidance in somebody else's sampler."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers", reason="tests of the guidance around diffusers' networks need diffusers and transformers")

from ip2p.edit import Edit
from ip2p.guidance import Guidance, Interval
from ip2p.passes import GuidedDenoiser
from tiny_model import tiny_editor

PAGE = Path(__file__).resolve().parents[1] / "docs" / "guidance.md"

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


@torch.inference_mode()
def test_the_example_of_the_documentation_gives_the_editor_s_picture():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf8"), re.DOTALL)
    editor = tiny_editor()
    picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    edit = Edit(picture, "make it winter", "blurry", seed=7, steps=4, width=64, height=64, sampler_name="Euler")
    scheduler, timesteps = editor.timesteps(edit)
    names = {
        "unet": editor.unet,
        "picture": editor.encode_picture(picture)[None],
        "text": editor.encode_text("make it winter"),
        "negative": editor.encode_text("blurry"),
        "noise": torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(7))[None],
        "sigmas": scheduler.sigmas,
        "timesteps": timesteps,
    }
    for image_scale, rows in (("1.5", 3), ("1.0", 2)):
        ours = {**names}
        exec(example.replace("image_scale=1.5", f"image_scale={image_scale}"), ours)
        expected = []
        editor.edit(replace(edit, image_scale=float(image_scale)), on_step=lambda step, total, latents, seen=expected: seen.append(latents))
        assert float((ours["x"] - expected[-1]).abs().max() / expected[-1].abs().max()) <= 1e-4
        assert ours["model"].runner.rows == [rows] * 4


def test_a_schedule_without_progress_is_refused():
    nothing, text = torch.zeros(1, 4, 8, 8), torch.zeros(77, 4)
    scheduled = [Guidance(7.5, 1.5, Interval(0.0, 0.8))]
    with pytest.raises(ValueError, match="give `progress`"):
        GuidedDenoiser(lambda *rows: rows[0], nothing, [text], [text], scheduled)
