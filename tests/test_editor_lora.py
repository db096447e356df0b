"""LoRAs added to an editor's weights: what they change, and which files are refused."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")
pytest.importorskip("peft", reason="LoRAs need peft (pip install -e '.[lora]')")

from ip2p.__main__ import main
from ip2p.checkpoints.lora import Lora, lora_named
from ip2p.errors import EditError
from ip2p.images import infotext_in
from tiny_model import tiny_editor, tiny_networks

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]
RANK, ALPHA = 4, 2.0
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.0.proj", "conv1", "downsamplers.0.conv", "time_emb_proj",
           "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")  # fmt: skip


def made_lora(width: int = 16) -> tuple[dict, dict]:
    """(a LoRA as kohya's scripts write it, what it adds to each weight), of a text-to-image model, from which an edit model differs in the
    first convolution alone."""
    random = torch.Generator().manual_seed(0)
    networks = tiny_networks(width, channels=4)
    tensors, added = {}, {}
    for prefix, network in (("lora_unet_", networks["unet"]), ("lora_te_text_model_", networks["text_encoder"])):
        for name, layer in network.named_modules():
            if name.endswith(TARGETS) and hasattr(layer, "weight"):
                out, *rest = layer.weight.shape
                down = torch.randn(RANK, *rest, generator=random)
                up = 0.05 * torch.randn(out, RANK, *[1] * (len(rest) - 1), generator=random)
                key = prefix + name.removeprefix("text_model.").replace(".", "_")
                tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(ALPHA)}
                added[prefix, name] = ALPHA / RANK * torch.einsum("or,r...->o...", up.reshape(out, RANK), down)
    return tensors, added


def weights_of(editor) -> dict[tuple[str, str], torch.Tensor]:
    networks = (("lora_unet_", editor.unet), ("lora_te_text_model_", editor.text_encoder))
    return {(prefix, name): weight.detach().clone() for prefix, network in networks for name, weight in network.named_parameters()}


@pytest.fixture
def lora(tmp_path):
    file = tmp_path / "lcm-made.safetensors"
    save_file(made_lora()[0], file)
    return file


def test_a_lora_of_a_text_to_image_model_is_added_to_the_weights_and_leaves_nothing_else(lora):
    editor = tiny_editor()
    before, added = weights_of(editor), made_lora()[1]
    assert {prefix for prefix, _ in added} == {"lora_unet_", "lora_te_text_model_"}
    editor.load_lora(lora, 0.5)
    after = weights_of(editor)
    assert after.keys() == before.keys()
    for (prefix, name), weight in before.items():
        expected = weight + 0.5 * added.get((prefix, name.removesuffix(".weight")), 0)
        assert torch.allclose(after[prefix, name], expected, atol=1e-5), name


def test_loras_add_up_and_the_infotext_names_them_as_the_webui_does(lora, edit):
    twice, once = tiny_editor(), tiny_editor()
    twice.load_lora(lora, 0.25)
    twice.load_lora(lora, 0.75)
    once.load_lora(lora)
    plain, (result,), (same,) = tiny_editor().edit(edit)[0], twice.edit(edit), once.edit(edit)
    assert abs(np.asarray(result.image, int) - np.asarray(same.image, int)).max() <= 1
    assert abs(np.asarray(result.image, int) - np.asarray(plain.image, int)).max() > 1
    assert result.infotext.startswith("make it winter <lora:lcm-made:0.25> <lora:lcm-made:0.75>\nNegative prompt: blurry\n")
    assert "lora" not in plain.infotext


def test_a_lora_with_a_text_to_image_model_s_first_convolution_does_not_fit(tmp_path):
    other = tiny_editor()
    of_four_channels = {
        "lora_unet_conv_in.lora_down.weight": torch.zeros(RANK, 4, 3, 3),
        "lora_unet_conv_in.lora_up.weight": torch.zeros(16, RANK, 1, 1),
        "lora_unet_conv_in.alpha": torch.tensor(ALPHA),
    }
    save_file({**made_lora()[0], **of_four_channels}, tmp_path / "first.safetensors")
    before = weights_of(other)
    with pytest.raises(EditError, match=r"first\.safetensors does not fit this model"):
        other.load_lora(tmp_path / "first.safetensors")
    after = weights_of(other)
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


def wrong_shapes(file):
    tensors, _ = made_lora(width=32)
    save_file(tensors, file)


def other_names(file):
    save_file(
        {"lora_unet_nothing_to_q.lora_down.weight": torch.zeros(4, 8), "lora_unet_nothing_to_q.lora_up.weight": torch.zeros(8, 4)}, file
    )


def no_lora(file):
    save_file({"model.weight": torch.zeros(4, 8)}, file)


def nothing(file):
    save_file({}, file)


@pytest.mark.parametrize("write", (wrong_shapes, other_names, no_lora, nothing))
def test_a_lora_that_does_not_fit_is_a_sentence_and_changes_nothing(tmp_path, write):
    editor, file = tiny_editor(), tmp_path / "other.safetensors"
    write(file)
    before = weights_of(editor)
    with pytest.raises(EditError, match=r"other\.safetensors does not fit this model, it may be of another family or no LoRA: ") as refused:
        editor.load_lora(file)
    assert len(str(refused.value).splitlines()) == 1
    after = weights_of(editor)
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert editor.loras == []


def test_a_file_that_can_t_be_read_is_a_sentence(tmp_path):
    editor = tiny_editor()
    with pytest.raises(EditError, match=r"There is no file .*missing\.safetensors"):
        editor.load_lora(tmp_path / "missing.safetensors")
    for name in ("lora.pt", "lora.ckpt", "lora.bin"):
        (tmp_path / name).write_bytes(pickle.dumps({"lora_unet": 1}))
        with pytest.raises(EditError, match=rf"{name} is no \.safetensors file: a LoRA is read from nothing else"):
            editor.load_lora(tmp_path / name)
    (tmp_path / "damaged.safetensors").write_bytes(b"PK\x03\x04 no header")
    with pytest.raises(EditError, match=r"damaged\.safetensors can't be read"):
        editor.load_lora(tmp_path / "damaged.safetensors")


@pytest.mark.parametrize("text, weight", (("{}", 1.0), ("{}:0.8", 0.8), ("{}:-1", -1.0), ("{}:.5", 0.5)))
def test_a_lora_is_asked_for_by_its_file_and_a_weight(lora, text, weight):
    assert lora_named(text.format(lora)) == Lora(lora, weight)


@pytest.mark.parametrize("text, sentence", (("{}:11", "between -10 and 10, not 11"), ("{}:strong", "There is no file .*:strong")))
def test_a_weight_that_is_none_is_a_sentence(lora, text, sentence):
    with pytest.raises(EditError, match=sentence):
        lora_named(text.format(lora))


def test_four_steps_of_lcm_with_a_lora_are_eight_rows(lora, edit):
    editor = tiny_editor()
    editor.load_lora(lora)
    fast = replace(edit, sampler_name="LCM", scheduler="SGM Uniform", steps=4, text_scale=2.0, image_scale=1.0)
    (result,) = editor.edit(fast)
    assert sum(editor.rows) == 8
    assert "Sampler: LCM, Schedule type: SGM Uniform" in result.infotext


def test_the_command_line_adds_loras_and_a_result_depends_on_them(model, lora, picture, tmp_path, capsys):
    picture.save(tmp_path / "photo.png")
    options = ["--model", model, "--result", "working", "--size", "64x64", "--seed", "7", "--sampler", "LCM", "--scheduler", "SGM Uniform"]
    command = ["edit", tmp_path / "photo.png", "make it winter", "--output", tmp_path / "out.png", "--steps", "4", *options]

    def run(*more) -> tuple[int, str]:
        return main([str(part) for part in (*command, *more)]), capsys.readouterr().err

    assert run("--lora", f"{lora}:0.5", "--lora", lora)[0] == 0
    text = infotext_in(tmp_path / "out.png")
    assert (
        text.startswith("make it winter <lora:lcm-made:0.5> <lora:lcm-made:1>\n") and "Sampler: LCM, Schedule type: SGM Uniform, " in text
    )
    assert run("--lora", f"{lora}:0.5", "--lora", lora)[0] == 0, "it is there"
    for other in (["--lora", f"{lora}:0.6", "--lora", lora], []):
        status, said = run(*other)
        assert status == 2 and "exists already and was made from another picture or mask, with another model or with other settings" in said
    status, said = run("--lora", tmp_path / "missing.safetensors")
    assert status == 2 and said.splitlines()[-1].endswith(f"There is no file {tmp_path / 'missing.safetensors'}.")
