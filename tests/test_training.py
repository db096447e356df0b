"""What a training run promises beside its resume: the losses, the data, the stages, what it starts from and what it leaves."""

import json
import os
import re
import resource
import shutil
import subprocess
import threading
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

from accelerate import Accelerator
from omegaconf import OmegaConf
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from ip2p.checkpoints import ldm
from ip2p.checkpoints.clip import TOKENIZER
from ip2p.checkpoints.convert import convert
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.dataset.scenes import COLOURS, Scenes, scene
from ip2p.edit import Edit
from ip2p.editor import Editor
from ip2p.errors import EditError
from ip2p.files import unfinished
from ip2p.pixels import to_tensor
from ip2p.training import data
from ip2p.training import scenes_report as scenes
from ip2p.training import state as states
from ip2p.training.cache import SHARD, Cache, cached
from ip2p.training.config import Config, Model, Stage, Unet, Vae, load
from ip2p.training.config import Data as DataConfig
from ip2p.training.data import Draw, Order, Samples, collate, crop, dropped
from ip2p.training.export import plain
from ip2p.training.loop import Loop, learning_rate, memory_errors_explained
from ip2p.training.losses import DenoisingLoss, perceptual_loss
from ip2p.training.networks import Networks, new_tokenizer, new_unet, token_ids, widened
from ip2p.training.rows import Rows
from ip2p.training.train import clear_killed
from tiny_model import save_folder, tiny_editor
from training_runs import STAGES, STEPS, Command, ended, only, same_bits, tensors, write_config

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2
SHAPES = Model(unet=Unet([32, 32], 1, [0], 2), vae=Vae([32] * 4, 1, 8))


@pytest.fixture(scope="module")
def networks(trained):
    """Those of the finished run, which no test may change."""
    return Networks.read(trained / "edit" / "model")


@pytest.fixture
def edit_config(trained, tmp_path):
    """A configuration of the edit stage alone on the finished text-to-image model."""

    def write(start: str | Path = trained / "text_to_image" / "model", stage: dict | None = None, **changes) -> Path:
        return write_config(
            tmp_path / "edit.yaml",
            **{"output": str(tmp_path / "run"), "export": "none", "model": {"start": str(start)}, **changes},
            stages=only("edit", **(stage or {})),
        )

    return write


def losses(run: Path, stage: str = "edit") -> list[float]:
    return [json.loads(line)["loss"] for line in (run / stage / "log.jsonl").read_text().splitlines()]


# From four channels to eight


@torch.no_grad()
def test_before_the_first_step_the_network_with_eight_channels_is_the_one_with_four():
    torch.manual_seed(0)
    four = new_unet(SHAPES, 4).eval()
    four.conv_in.bias.normal_()
    eight = widened(four).eval()
    z, condition, text = torch.randn(3, 4, 8, 8), 30 * torch.randn(3, 4, 8, 8), torch.randn(3, 77, 768)
    for t in (1, 500, 999):
        before = four(z, t, encoder_hidden_states=text).sample
        after = eight(torch.cat([z, condition], 1), t, encoder_hidden_states=text).sample
        assert float((before - after).abs().max()) <= 1e-6
    assert torch.equal(eight.conv_in.bias, four.conv_in.bias) and torch.equal(eight.conv_in.weight[:, :4], four.conv_in.weight)
    assert not eight.conv_in.weight[:, 4:].any() and all(p.requires_grad for p in eight.parameters())
    assert widened(eight) is eight
    with pytest.raises(EditError, match="has 8 input channels, and this stage trains one with 4"):
        widened(eight, 4)


def test_the_new_channels_learn(trained, networks):
    before = Networks.read(trained / "text_to_image" / "model").unet.conv_in
    assert before.weight.shape[1] == 4 and networks.unet.conv_in.weight.shape[1] == 8
    assert networks.unet.conv_in.weight[:, 4:].any()


# Dropping


def test_one_number_decides_what_is_dropped():
    """Text alone below .05, both to .10, the image alone to .15."""
    found = [dropped(Stage(), r) for r in (0.0, 0.0499, 0.0501, 0.0999, 0.1001, 0.1499, 0.1501, 0.999)]
    assert found == [(True, False)] * 2 + [(True, True)] * 2 + [(False, True)] * 2 + [(False, False)] * 2


@pytest.mark.parametrize("kept", (False, True), ids=("drawn", "from the cache"))
def test_the_shares_of_dropped_samples_are_the_paper_s(networks, kept, tmp_path):
    stage = Stage(size=32, flip=0, cache=kept)
    samples = samples_of(stage, networks, tmp_path)
    blank = samples_of(replace(stage, drop_text=1, drop_both=0, drop_image=0), networks, tmp_path)[0]
    key = "text" if kept else "tokens"
    found = [samples[n] for n in range(600)]
    counts = {(bool(torch.equal(sample[key], blank[key])), bool(sample["drop_image"])) for sample in found}
    shares = [np.mean([(torch.equal(s[key], blank[key]), bool(s["drop_image"])) == case for s in found]) for case in sorted(counts)]
    assert sorted(counts) == [(False, False), (False, True), (True, False), (True, True)]
    assert shares == pytest.approx([0.85, 0.05, 0.05, 0.05], abs=0.03)


@torch.no_grad()
def test_a_dropped_image_is_zeros_and_its_condition_else_the_unscaled_mode(networks):
    loss = DenoisingLoss(networks, Stage())
    pair = scene(0).pair()
    pixels = torch.stack([to_tensor(pair.original_image)] * 2)
    batch = {"original": pixels, "edited": pixels, "drop_image": torch.tensor([False, True])}
    (mean, std), condition = loss.latents(batch)
    posterior = networks.vae.encode(pixels).latent_dist
    assert torch.equal(condition[0], posterior.mode()[0]) and not condition[1].any()
    assert torch.equal(mean, posterior.mean) and torch.equal(std, posterior.std)


def test_the_loss_is_the_error_of_the_noise_at_the_target_s_drawn_and_scaled_latent(networks, monkeypatch):
    loss = DenoisingLoss(networks, Stage(train_text=True)).eval()
    batch = {
        "mean": torch.randn(2, 4, 8, 8), "deviation": torch.rand(2, 4, 8, 8), "condition": torch.randn(2, 4, 8, 8),
        "drop_image": torch.tensor([False, True]), "tokens": torch.stack([token_ids(networks.tokenizer, t) for t in ("red", "")]),
        "seed": torch.tensor([5, 6]),
    }  # fmt: skip
    seen = []
    monkeypatch.setattr(
        loss.unet, "forward", lambda x, t, encoder_hidden_states, f=loss.unet.forward: seen.append((x, t)) or f(x, t, encoder_hidden_states)
    )
    value = loss(batch)
    ((x, t),) = seen
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[t][:, None, None, None]
    expected = []
    for i, seed in enumerate((5, 6)):
        generator = torch.Generator().manual_seed(seed)
        assert t[i] == torch.randint(1000, (), generator=generator)
        drawn, noise = torch.randn(2, 4, 8, 8, generator=generator)
        z = (batch["mean"][i] + batch["deviation"][i] * drawn) * networks.vae.config.scaling_factor
        torch.testing.assert_close(x[i, :4], alphas[i] ** 0.5 * z + (1 - alphas[i]) ** 0.5 * noise)
        expected.append(noise)
    assert torch.equal(x[0, 4:], batch["condition"][0]) and not x[1, 4:].any()
    with torch.no_grad():
        text = networks.text_encoder(input_ids=batch["tokens"]).last_hidden_state
        torch.testing.assert_close(
            value.detach(), (loss.unet(x, t, encoder_hidden_states=text).sample - torch.stack(expected)).square().mean()
        )


def test_weighted_as_v_the_loss_is_the_error_of_v(networks, monkeypatch):
    """v = √ᾱ·ε − √(1 − ᾱ)·z (Salimans and Ho, arXiv 2202.00512), read off the noise that the network predicts."""
    plain, weighted = (DenoisingLoss(networks, Stage(train_text=True, weighting=weighting)).eval() for weighting in ("epsilon", "v"))
    batch = {
        "mean": torch.randn(3, 4, 8, 8), "deviation": torch.zeros(3, 4, 8, 8), "condition": torch.randn(3, 4, 8, 8),
        "drop_image": torch.tensor([False] * 3), "tokens": torch.stack([token_ids(networks.tokenizer, "red")] * 3),
        "seed": torch.tensor([5, 6, 7]),
    }  # fmt: skip
    calls = []
    monkeypatch.setattr(
        networks.unet, "forward",
        lambda x, t, encoder_hidden_states, f=networks.unet.forward: calls.append((x, t, f(x, t, encoder_hidden_states))) or calls[-1][2],
    )  # fmt: skip
    with torch.no_grad():
        loss, loss_of_epsilon = weighted(batch), plain(batch)
    x, t, prediction = calls[0]
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[t][:, None, None, None]
    noisy, z = x[:, :4], batch["mean"] * networks.vae.config.scaling_factor
    epsilon = (noisy - alphas**0.5 * z) / (1 - alphas) ** 0.5
    predicted_z = (noisy - (1 - alphas) ** 0.5 * prediction.sample) / alphas**0.5
    v, predicted_v = (
        alphas**0.5 * noise - (1 - alphas) ** 0.5 * latent for noise, latent in ((epsilon, z), (prediction.sample, predicted_z))
    )
    torch.testing.assert_close(loss, (predicted_v - v).square().mean(), rtol=1e-3, atol=0)
    assert loss > 1.5 * loss_of_epsilon, "the noisiest levels count more"


def test_the_perceptual_loss_is_the_distance_that_evaluation_measures():
    pytest.importorskip("efficientnet_lite_pytorch", reason="the perceptual loss needs the packages of the extra evaluate")
    from ip2p.evaluation.metrics import layers_distance
    from ip2p.scorers.efficientnet import Lite0

    pictures = [scene(i).pair().original_image for i in range(2)]
    one, other = (to_tensor(picture)[None] for picture in pictures)
    measured = [[layer[i] for layer in Lite0.on(torch.device("cpu")).layers(pictures)] for i in range(2)]
    loss = perceptual_loss(one.requires_grad_(), other)
    assert float(loss.detach()) == pytest.approx(layers_distance(*measured), rel=1e-4) and not perceptual_loss(other, other)
    loss.backward()
    assert one.grad.any()


# The data


def test_both_pictures_have_one_crop_and_one_flip_and_their_aspect():
    """A picture whose colours are its coordinates says where its crop lies and how large a step of it is; the other has half its size."""
    y, x = np.mgrid[:96, :160]
    picture = Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8))
    stage = Stage(size=64, resize=[64, 80])
    flips, places, sizes = set(), set(), set()
    for n in range(24):
        one, other = crop([picture, picture.resize((80, 48), Image.Resampling.BOX)], stage, data.generator_of(n))
        assert float((one - other).abs().max()) < 0.05, "the same place of both"
        across, down = ((one[0, 32, 48] - one[0, 32, 16]) * 127.5 / 32, (one[1, 48, 32] - one[1, 16, 32]) * 127.5 / 32)
        assert float(abs(across)) == pytest.approx(float(down), rel=0.06)
        flips.add(bool(across < 0))
        places.add(round(float(one[0].mean()), 2))
        sizes.add(round(float(down), 2))
    assert flips == {True, False} and len(places) > 12 and len(sizes) > 6


def samples_of(stage: Stage, networks: Networks, output: Path, seed: int = 0, count: int = 5) -> Samples:
    config = load(write_config(output / "samples.yaml", output=str(output), seed=seed, data={"scenes": count}))
    rows = Rows(config, print)
    if stage.cache:
        draw = cached(output, seed, stage, networks, rows, Accelerator(cpu=True))
    else:
        draw = rows.edits(stage, networks) if stage.kind == "edit" else rows.captions(stage, networks)
    return Samples(draw, stage, seed, 2)


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own():
    rows = [data.row_of(n, 10, 0, 2) for n in range(30)]
    epochs = [rows[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs) and epochs[0] != epochs[1] != epochs[2]
    assert rows != [data.row_of(n, 10, 1, 2) for n in range(30)]


@pytest.mark.parametrize("processes", (1, 2, 3))
def test_no_sample_is_repeated_or_skipped_whatever_takes_it(processes):
    """By all processes together, from the start and after a stop; with another number of processes, from the next sample on."""
    stage = Stage(steps=6, batch_size=2, accumulate=2)
    whole = [list(Order(stage, 0, 0, process, processes)) for process in range(processes)]
    size = 6 * 2 * 2 * processes
    assert sorted(n for part in whole for batch in part for n in batch) == list(range(size))
    rest = [list(Order(stage, 2, size // 3, process, processes)) for process in range(processes)]
    assert rest == [part[4:] for part in whole]
    assert [n for batch in Order(stage, 5, 7, 0, 1) for n in batch] == [7, 8, 9, 10]


@pytest.mark.parametrize("kept", (False, True), ids=("drawn", "from the cache"))
def test_workers_give_the_same_samples(networks, kept, tmp_path):
    stage = Stage(steps=3, batch_size=2, size=32, variants=2, cache=kept)
    samples = samples_of(stage, networks, tmp_path)

    def batches(workers):
        options = {"multiprocessing_context": "fork"} if workers else {}
        return list(
            torch.utils.data.DataLoader(samples, batch_sampler=Order(stage, 0, 0, 0, 1), num_workers=workers, collate_fn=collate, **options)
        )

    for one, other in zip(batches(0), batches(2)):
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("kind, train_text", (("edit", False), ("edit", True), ("text_to_image", True)))
def test_what_is_cached_is_what_would_be_drawn(trained, kind, train_text, tmp_path):
    networks = Networks.read(trained / kind / "model")
    stage = Stage(kind=kind, size=32, resize=[32, 40], variants=3, train_text=train_text)
    plain, kept = samples_of(stage, networks, tmp_path), samples_of(replace(stage, cache=True), networks, tmp_path)
    loss = DenoisingLoss(networks, stage).eval()
    assert plain.draw.rows == kept.draw.rows
    with torch.no_grad():
        for n in (0, 1, 2, 40):
            one, other = ({key: value[None] for key, value in samples[n].items()} for samples in (plain, kept))
            assert one["seed"] == other["seed"] and ("edited" in one) and ("edited" not in other)
            torch.testing.assert_close(loss(one), loss(other), rtol=0.005, atol=0)


@torch.no_grad()
def test_the_cached_condition_is_the_latent_of_the_picture_before_the_edit(networks, tmp_path):
    stage = Stage(size=32, flip=0, variants=1)
    plain, cached_samples = samples_of(stage, networks, tmp_path), samples_of(replace(stage, cache=True), networks, tmp_path)
    for n in range(4):
        pictures, sample = plain[n], cached_samples[n]
        before, after = (networks.vae.encode(pictures[key][None]).latent_dist.mode()[0] for key in ("original", "edited"))
        assert (before - after).abs().max() > 0.02, "else either could be the condition"
        torch.testing.assert_close(sample["condition"].float(), before, rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(sample["mean"].float(), after, rtol=2e-3, atol=2e-3)


def folders(output: Path, what: str) -> set[str]:
    return {path.name for path in output.glob(f"cache/{what}-*")}


def test_a_changed_vae_text_encoder_set_crop_or_precision_never_reads_what_is_stale(networks, tmp_path, monkeypatch):
    stage = Stage(size=32, variants=2, cache=True)
    samples = samples_of(stage, networks, tmp_path)
    first, seen, read = samples[0], folders(tmp_path, "latents"), folders(tmp_path, "texts")
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert samples_of(stage, networks, tmp_path)[0].keys() == first.keys()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == made, "nothing changed: nothing is made again"

    other = networks.with_(vae=deepcopy(networks.vae), text_encoder=deepcopy(networks.text_encoder))
    with torch.no_grad():
        other.vae.encoder.conv_in.bias[0] += 1e-3
    changed = samples_of(stage, other, tmp_path)[0]
    assert len(folders(tmp_path, "latents")) == len(seen) + 1 and folders(tmp_path, "texts") == read
    assert not torch.equal(changed["mean"], first["mean"])
    with torch.no_grad():
        other.text_encoder.get_input_embeddings().weight[3] += 1
    samples_of(stage, other, tmp_path)
    assert len(folders(tmp_path, "texts")) == len(read) + 1
    count = len(folders(tmp_path, "latents"))
    for change in ({"stage": replace(stage, resize=[32, 40])}, {"stage": replace(stage, flip=0)}, {"seed": 4}, {"count": 6}):
        samples_of(**{"stage": stage, "networks": networks, "output": tmp_path, **change})
        count += 1
        assert len(folders(tmp_path, "latents")) == count, change
    monkeypatch.setattr(Accelerator, "mixed_precision", "bf16")
    samples_of(stage, networks, tmp_path)
    assert len(folders(tmp_path, "latents")) == count + 1


def test_processes_share_the_filling_of_a_cache_whenever_they_look(tmp_path):
    """The second looks when the first has begun, and still makes its own share."""
    for process in (0, 1):
        cache = Cache(tmp_path, 4 * SHARD - 3, lambda row: {"row": torch.tensor([float(row)])}, "row")
        cache.fill(SimpleNamespace(process_index=process, num_processes=2, is_main_process=process == 0, wait_for_everyone=lambda: None))
    assert [float(cache.read(row, "row")) for row in (0, SHARD, 2 * SHARD + 5, 4 * SHARD - 4)] == [0, SHARD, 2 * SHARD + 5, 4 * SHARD - 4]
    os.truncate(cache.path(1), 100)
    with pytest.raises(EditError, match=r"000001\.safetensors can't be read: remove it"):
        Cache(tmp_path, 4 * SHARD - 3, None, "row").read(SHARD, "row")


def test_pictures_of_a_folder_are_kept_within_a_budget(tmp_path, monkeypatch):
    for i in range(4):
        Image.new("RGB", (100, 10), (i, 0, 0)).save(tmp_path / f"{i}.png")
    monkeypatch.setattr(data, "DECODED_BYTES", 7000)
    folder = data.Folder(DataConfig(pictures=str(tmp_path), hold_out=["3"]))
    assert [folder[i].getpixel((0, 0))[0] for i in (0, 1, 2, 2, 0)] == [0, 1, 2, 2, 0] and sorted(folder.decoded) == [0, 1]


def test_a_folder_s_pictures_are_found_and_allowed_as_dataset_photos_does(tmp_path):
    for name in ("a.tif", "b.png", "sub/c.jpg", ".hidden/d.png", "e.png", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    given = {"pictures": str(tmp_path), "licences": str(tmp_path / "table.csv"), "allow": ["CC0", "PD"]}
    (tmp_path / "table.csv").write_text("\ufefffile,license\na.tif,PD/CC0 (README.txt)\nb.png,GPL-3+/PD\nc.jpg,CC0\nd.png,CC0\n", "utf8")
    assert [path.name for path in data.Folder(DataConfig(**given)).paths] == ["a.tif", "c.jpg"]
    assert [path.name for path in data.Folder(DataConfig(**given | {"allow": ["GPL"]})).paths] == ["b.png"]
    with pytest.raises(EditError, match=r"has no picture that may be used: see data\.allow"):
        data.Folder(DataConfig(**given | {"allow": []}))


def test_a_tokenizer_learned_from_texts_writes_any_text():
    tokenizer = new_tokenizer([scene(i).instruction for i in range(200)], 600)
    assert len(tokenizer) <= 600 and tokenizer.eos_token_id == len(tokenizer) - 1 == tokenizer.bos_token_id + 1
    for text in ("make the circle red", "Café ❄ 1234, don't!", "日本"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        words = "".join(tokenizer.convert_ids_to_tokens(ids))
        assert tokenizer.eos_token_id not in ids and tokenizer.decode(ids).replace(" ", "") == text.lower().replace(" ", ""), words
    assert len(tokenizer("make the circle red", add_special_tokens=False).input_ids) == 4


def test_a_stage_of_texts_tells_kinds_of_edits_apart_before_the_edit_stage(tmp_path):
    def kinds():
        for i in range(16):
            kind = ("night", "winter")[i % 2]
            prompts = tuple(f"{verb} it {kind}" for verb in ("make", "turn", "now make"))
            yield replace(scene(i).pair(), edit_prompts=prompts, extra={"kind": kind, "parameter": ""})

    write_pairs(kinds(), tmp_path / "pairs.parquet")
    one_step = {"steps": 1, "batch_size": 2, "size": 32}
    stages = {
        "autoencoder": one_step, "text_to_image": None, "edit": None,
        "text": {"steps": 40, "batch_size": 8, "learning_rate": 1e-2, "ema": 0.5}, "last": {**one_step, "train_text": True},
    }  # fmt: skip
    config = write_config(
        tmp_path / "texts.yaml",
        output=str(tmp_path / "run"), data={"pairs": str(tmp_path / "pairs.parquet")}, validation={"every": 0}, stages=stages,
    )  # fmt: skip
    ended(config, said=tmp_path / "said", environment={"HF_HOME": str(tmp_path)})
    read = losses(tmp_path / "run", "text")
    assert read[0] > 0.5 and read[-1] < 0.05
    texts_stage, last_stage = (Networks.read(tmp_path / "run" / stage / "model") for stage in ("text", "last"))
    assert texts_stage.unet is None and last_stage.unet is not None
    before, after = (networks.text_encoder.state_dict() for networks in (texts_stage, last_stage))
    assert all((before[key] - after[key]).abs().max() < 0.01 for key in before), "the edit stage goes on with them"


def test_a_stage_of_texts_needs_the_kinds_and_says_so_before_any_training(tmp_path):
    write_pairs((scene(i).pair() for i in range(4)), tmp_path / "pairs.parquet")
    config = write_config(
        tmp_path / "texts.yaml", output=str(tmp_path / "run"), data={"pairs": str(tmp_path / "pairs.parquet")}, export="none",
        stages=only("autoencoder") | {"text": {"steps": 1}},
    )  # fmt: skip
    command = Command(config, said=tmp_path / "said", environment={"HF_HOME": str(tmp_path)})
    assert command.status() == 2 and "has no column “kind”" in command.errors[-1]
    assert not (tmp_path / "run" / "autoencoder").exists(), "it is said before the first stage"


# Broken pictures


@pytest.fixture
def broken_set(tmp_path):
    """Twenty rows in parquet, one of whose pictures is cut short."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_pairs((scene(i).pair() for i in range(20)), tmp_path / "pairs.parquet")
    table = pq.read_table(tmp_path / "pairs.parquet")
    pictures = table.column("edited_image").to_pylist()
    pictures[7]["bytes"] = pictures[7]["bytes"][:60]
    place = table.schema.get_field_index("edited_image")
    table = table.set_column(place, table.schema.field(place), pa.array(pictures, table.schema.field(place).type))
    pq.write_table(table, tmp_path / "pairs.parquet")
    return tmp_path / "pairs.parquet"


def test_a_pair_set_with_few_broken_rows_is_trained_without_them(edit_config, broken_set, tmp_path):
    config = edit_config(data={"pairs": str(broken_set), "max_broken": 0.1, "workers": 1}, stage={"steps": 2, "cache": False})
    said = ended(config, said=tmp_path / "said", environment={"HF_HOME": str(tmp_path)}).out
    assert "row 7" in said and len(losses(tmp_path / "run")) == 2
    refused = Command(
        config, "data.max_broken=0.01", f"output={tmp_path}/other", said=tmp_path / "said", environment={"HF_HOME": str(tmp_path / "x")}
    )
    assert refused.status() == 2 and "rows are broken" in refused.errors[-1]


def test_validation_passes_over_broken_rows_of_its_split(broken_set, tmp_path):
    """Which nobody has checked, since it is not trained on."""
    said = []
    config = write_config(
        tmp_path / "split.yaml", output=str(tmp_path), data={"pairs": str(broken_set)}, validation={"split": "train", "rows": 5}
    )
    shown = Rows(load(config), said.append).shown
    assert [pair.edit_prompt for pair in shown] == [scene(i).instruction for i in (0, 3, 10, 14, 1)]
    assert len(said) == 1 and "row 7" in said[0]


@pytest.mark.parametrize("workers", (0, 1))
def test_a_picture_that_vanishes_while_training_is_a_sentence(workers, tmp_path):
    for i in range(3):
        scene(i).pair().original_image.save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    config = write_config(
        tmp_path / "ae.yaml", output=str(tmp_path / "run"), data={"pairs": "", "pictures": str(tmp_path), "workers": workers},
        validation={"every": 0}, stages=only("autoencoder"),
    )  # fmt: skip
    command = Command(config, said=tmp_path / "said")
    assert command.status() == 2
    (line,) = command.errors
    assert "1.png" in line and "Traceback" not in line


def test_an_autoencoder_is_trained_on_a_folder_of_pictures(tmp_path):
    """Those with an allowed licence, but for those held out, on which it is validated."""
    for i in range(5):
        scene(i).pair().original_image.save(tmp_path / f"{i}.png")
    (tmp_path / "licences.csv").write_text("file,licence\n0.png,CC0\n1.png,CC0\n2.png,unknown\n3.png,CC0\n")
    given = {"pairs": "", "pictures": str(tmp_path), "licences": str(tmp_path / "licences.csv"), "allow": ["CC0"], "hold_out": ["3"]}
    assert [path.name for path in data.Folder(DataConfig(**given)).paths] == ["0.png", "1.png"]
    config = write_config(tmp_path / "ae.yaml", output=str(tmp_path / "run"), data=given, stages=only("autoencoder", steps=4))
    assert "over 1 pictures" in ended(config, said=tmp_path / "said").out
    vae = Networks.read(tmp_path / "run/autoencoder/model").vae
    assert vae.config.norm_num_groups == 8 and 0 < vae.config.scaling_factor != 0.18215


def test_a_decoder_trained_alone_leaves_the_latents_as_they_are(tmp_path):
    one_step = {"steps": 2, "batch_size": 2, "size": 32, "learning_rate": 1e-3, "ema": 0.5}
    stages = {
        "autoencoder": one_step,
        "text_to_image": None,
        "edit": None,
        "sharper": {**one_step, "kind": "autoencoder", "decoder_only": True},
    }
    config = write_config(tmp_path / "ae.yaml", output=str(tmp_path / "run"), validation={"every": 0}, stages=stages)
    ended(config, said=tmp_path / "said")
    before, after = (Networks.read(tmp_path / "run" / stage / "model").vae for stage in ("autoencoder", "sharper"))
    assert before.config.scaling_factor == after.config.scaling_factor
    own, others = before.state_dict(), after.state_dict()
    changed = {key.split(".")[0] for key in own if not torch.equal(own[key], others[key])}
    assert changed == {"decoder", "post_quant_conv"}


# The loop


class Line(torch.nn.Module):
    """The smallest thing to train."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, batch):
        return (self.weight * batch["x"]).sum(-1).square().mean()


def small_loop(tmp_path: Path, module: torch.nn.Module, **stage) -> Loop:
    stage = Stage(**{"kind": "edit", "steps": 6, "batch_size": 2, "ema": 0.3, "learning_rate": 0.1, **stage})
    config = Config(output=str(tmp_path), save_every=1, tensorboard=False, stages={"edit": stage})
    draw = Draw(8, lambda row, rng, variant: {"row": torch.tensor(row), "x": torch.tensor([row + 1.0, 2.0])})
    return Loop(config, "edit", module, Samples(draw, stage, 0, 0), Accelerator(cpu=True))


def test_the_average_warms_up_to_its_decay(tmp_path):
    loop = small_loop(tmp_path, Line())
    loop.run()
    assert [path.name for path in states.states(tmp_path / "edit")] == ["state-00000006", "state-00000005"], "two are kept"
    before, after = (states.read(tmp_path / "edit" / f"state-{step:08d}").tensors for step in (5, 6))
    decay = min(0.3, (1 + 5) / (10 + 5))
    torch.testing.assert_close(after["ema"]["weight"], decay * before["ema"]["weight"] + (1 - decay) * after["weights"]["weight"])


@pytest.mark.parametrize("moment", ("step", "validation"))
def test_asked_to_stop_in_its_last_step_or_validation_a_stage_ends_the_run(tmp_path, monkeypatch, moment):
    asked = threading.Event()
    monkeypatch.setattr("ip2p.training.loop.stop_requested", lambda patient: nullcontext(asked))
    loop = small_loop(tmp_path, Line())
    loop.config.validation.every = 6
    looked = []

    def check(step):
        looked.append(step)
        asked.set()

    loop.check = check
    if moment == "step":
        loop.own.register_forward_hook(lambda *_: asked.set() if loop.step == 5 else None)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert states.newest_step(tmp_path / "edit") == 6 and looked == ([] if moment == "step" else [6])
    small_loop(tmp_path, Line()).run()


def test_only_what_a_killed_start_of_this_run_left_is_cleared(tmp_path):
    """Not a stranger's unfinished download, not what a running process writes, and nothing in folders that are not the run's."""
    ended_process = subprocess.Popen(["true"])
    ended_process.wait()
    own, strangers = [], [tmp_path / ".film.mkv.part", tmp_path / "edit" / ".notes.12345678.part", unfinished(tmp_path / "a", "part")]
    for path in (tmp_path / "run.safetensors", tmp_path / "edit" / "state-00000003", tmp_path / "cache" / "texts-1" / "000000.safetensors"):
        name = unfinished(path, "part").name.replace(f"-{os.getpid()}-", f"-{ended_process.pid}-")
        own.append(path.with_name(name))
        strangers.append(tmp_path / "downloads" / name)
    for path in (*own, *strangers):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    clear_killed(tmp_path, ["edit"])
    assert not [path for path in own if path.exists()] and all(path.exists() for path in strangers)


def test_the_state_just_written_is_kept_beside_a_torn_newer_one(tmp_path):
    (tmp_path / "state-00000006").mkdir()
    path = states.write(tmp_path, states.State(3, {"weights": {"a": torch.ones(1)}}, {}), keep=1)
    assert states.read(path).step == 3 and states.states(tmp_path) == [path]


@pytest.mark.parametrize("step, decay", ((2, 2 / 11), (3, 3 / 12), (100, 100 / 109)))
def test_the_warm_up_is_that_of_the_original_code(tmp_path, step, decay):
    assert small_loop(tmp_path, Line(), ema=0.9999).ema.get_decay(step) == pytest.approx(decay)


def test_the_learning_rate_warms_up_and_falls():
    stage = Stage(steps=110, warmup=10, decay="cosine", learning_rate=1.0)
    rates = [learning_rate(stage, step) for step in range(110)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)]) and rates[10] == 1
    assert all(a > b for a, b in pairwise(rates[10:])) and 0.01 < rates[-1] < 0.02
    assert {learning_rate(Stage(learning_rate=0.5), step) for step in (0, 5000)} == {0.5}


def test_accumulated_the_gradient_is_that_of_the_whole_batch(tmp_path):
    one, other = (small_loop(tmp_path / str(i), Line(), batch_size=6 // i, accumulate=i) for i in (1, 3))
    for loop in (one, other):
        loop.run()
    torch.testing.assert_close(one.own.weight, other.own.weight)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_state(tmp_path):
    loop = small_loop(tmp_path, Line(), learning_rate=1e30)
    with pytest.raises(EditError, match=r"loss is not a number at step 2 of edit.*kept in .*edit.*learning_rate"):
        loop.run()
    (kept,) = states.states(tmp_path / "edit")
    assert states.read(kept).step == 1 and states.read(kept).tensors["weights"]["weight"].isfinite().all()


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    class Root(Line):
        def forward(self, batch):  # its value is a number where its slope is not
            return (self.weight * (batch["x"] * 0)).abs().sum().sqrt()

    with pytest.raises(EditError, match="weight is not a number at step 1 of edit"):
        small_loop(tmp_path, Root()).run()
    assert not states.states(tmp_path / "edit")


def test_a_run_whose_loss_explodes_ends_with_a_sentence(edit_config, tmp_path):
    command = Command(edit_config(stage={"learning_rate": 1e18, "gradient_clip": 0}), "save_every=1", said=tmp_path / "said")
    assert command.status() == 2
    (line,) = command.errors
    assert re.search(r"not a number at step \d of edit: training stopped, the last saved state is kept in .*/run/edit\.", line)
    state = states.newest(tmp_path / "run" / "edit", print)
    assert all(tensor.isfinite().all() for tensor in state.tensors["weights"].values())


@pytest.mark.parametrize(
    "error, memory",
    ((torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "GPU"), (MemoryError(), "main"),
     (RuntimeError("[enforce fail at alloc_cpu.cpp:128] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "main")),
)  # fmt: skip
def test_no_memory_names_the_settings_to_change(error, memory):
    sentence = rf"not enough {memory} memory: lower stages.edit.batch_size \(now 4\).*stages.edit.accumulate.*gradient_check"
    with pytest.raises(EditError, match=sentence), memory_errors_explained("edit", Stage()):
        raise error
    with pytest.raises(RuntimeError, match="another"), memory_errors_explained("edit", Stage()):
        raise RuntimeError("another")


def test_no_memory_ends_the_command_with_a_sentence(edit_config, tmp_path):
    limit = 2 << 30  # of address space, of which the libraries take one
    config = edit_config(stage={"batch_size": 100, "size": 256, "cache": False}, validation={"every": 0})
    command = Command(config, said=tmp_path / "said", limits={resource.RLIMIT_AS: limit})
    assert command.status() == 2
    assert command.errors[-1].startswith("There is not enough main memory: lower stages.edit.batch_size (now 100)")


# Settings of a run


def test_mixed_precision_and_gradient_checkpointing_train(edited, edit_config, tmp_path):
    ended(edit_config(precision="bf16", stage={"steps": 24, "gradient_checkpointing": True, "learning_rate": 3e-3}), said=tmp_path / "said")
    found, before = losses(tmp_path / "run"), losses(edited)
    assert np.isfinite(found).all() and np.mean(found[-6:]) < 0.9 * np.mean(found[:6])
    assert found[0] != before[0] and found[0] == pytest.approx(before[0], rel=0.02), "it is another precision"


def test_gradient_checkpointing_changes_no_gradient(trained):
    batch = {
        "mean": torch.randn(2, 4, 4, 4), "deviation": torch.rand(2, 4, 4, 4), "condition": torch.randn(2, 4, 4, 4),
        "drop_image": torch.tensor([False, True]), "text": torch.randn(2, 77, 32), "seed": torch.tensor([5, 6]),
    }  # fmt: skip
    gradients = []
    for on in (False, True):
        loss = DenoisingLoss(Networks.read(trained / "edit" / "model"), Stage(gradient_checkpointing=on))
        loss.train()
        assert loss.unet.is_gradient_checkpointing == on
        loss(batch).backward()
        gradients.append({name: p.grad for name, p in loss.named_parameters() if p.requires_grad})
        assert not any(p.requires_grad for p in loss.text_encoder.parameters())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


def test_fp16_without_a_gpu_is_refused_in_a_sentence(edit_config, tmp_path):
    command = Command(edit_config(precision="fp16"), "device=cpu", said=tmp_path / "said")
    assert command.status() == 2
    (line,) = command.errors
    assert line == "precision=fp16 is not available on the cpu: choose no or bf16."


def test_validation_changes_nothing(edited, edit_config, tmp_path):
    ended(edit_config(validation={"every": 0}), said=tmp_path / "said")
    assert [path.stem for path in sorted((edited / "edit/validation").iterdir())] == ["00000004", "00000008"]
    assert not (tmp_path / "run/edit/validation").exists() and losses(tmp_path / "run") == losses(edited)
    one, other = tensors(edited), tensors(tmp_path / "run")
    assert one.keys() == other.keys() and all(same_bits(one[name], other[name]) for name in one)


def test_more_steps_go_on_and_changes_are_named(edited, edit_config, tmp_path):
    config = edit_config(stage={"steps": 3})
    ended(config, said=tmp_path / "said")
    longer = ended(config, "stages.edit.steps=8", said=tmp_path / "said").out
    assert "Changed since the last start: stages.edit.steps: 3 → 8" in longer and "goes on after step 3 of 8" in longer
    one, other = tensors(edited / "edit/model"), tensors(tmp_path / "run/edit/model")
    assert losses(tmp_path / "run") == losses(edited) and all(same_bits(one[name], other[name]) for name in one)


def test_a_state_of_another_model_is_a_sentence(tmp_path):
    small_loop(tmp_path, Line()).run()
    wider = Line()
    wider.weight = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(EditError, match="holds the state of another model: choose another output, or remove that folder"):
        small_loop(tmp_path, wider, steps=9).run()


def test_another_batch_size_skips_and_repeats_no_sample(tmp_path):
    seen = []

    class Watching(Line):
        def forward(self, batch):
            seen.append(batch["row"].tolist())
            return super().forward(batch)

    small_loop(tmp_path, Watching(), steps=2).run()
    small_loop(tmp_path, Watching(), steps=5, batch_size=3).run()
    rows = [data.row_of(n, 8, 0, 0) for n in range(13)]
    assert [len(batch) for batch in seen] == [2, 2, 3, 3, 3] and [row for batch in seen for row in batch] == rows


# What a person sees


def test_the_bar_tells_progress_loss_and_throughput_and_libraries_keep_quiet(trained):
    shown = (trained.parent / "said.err").read_text().replace("\r", "\n")
    assert re.search(r"100%.*8/8 \[00:\d\d<00:00, .*step/s, edit: loss \d\.\d{4}, \d+\.\d samples/s\]", shown)
    others = [line for line in shown.splitlines() if line.strip() and not re.search(r"(step|picture pair|text)(/s)?[\],]", line)]
    assert others == []
    said = (trained.parent / "said.out").read_text().splitlines()
    assert [line.partition(" ")[0] for line in said] == ["Step", "Step", "Exported", "Exported", "Exported", "Exported"]


def test_tensorboard_has_the_curves(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for stage in STAGES:
        events = EventAccumulator(str(trained / stage / "tensorboard")).Reload()
        assert set(events.Tags()["scalars"]) == {"loss", "learning_rate", "samples_per_second"}
        found = [(event.step, event.value) for event in events.Scalars("loss")]
        assert found == [(i + 1, pytest.approx(loss)) for i, loss in enumerate(losses(trained, stage))]


def test_validation_pictures_are_grids_of_the_same_pictures(trained):
    files = sorted((trained / "edit" / "validation").iterdir())
    assert [path.name for path in files] == ["00000004.png", "00000008.png"]
    one, other = (np.asarray(Image.open(path)) for path in files)
    assert one.shape == other.shape and one.shape[0] > 2 * 64 and one.shape[1] > 3 * 64 and (one != other).any()


def test_a_recipe_is_kept_beside_the_run(trained):
    config = load(trained / "config.yaml")
    assert config.output == str(trained) and config.stages["edit"].steps == STEPS and config.stages["edit"].drop_both == 0.05


# What it starts from


def ldm_file(folder: Path, target: Path, yaml: bool = True) -> Path:
    convert(folder, target)
    if not yaml:
        target.with_suffix(".yaml").unlink()
    return target


def test_it_starts_from_an_ldm_file_as_from_the_folder(trained, edited, edit_config, tmp_path):
    file = ldm_file(trained / "text_to_image" / "model", tmp_path / "start.safetensors")
    ended(edit_config(file, stage={"steps": 2}), said=tmp_path / "said")
    assert losses(tmp_path / "run") == pytest.approx(losses(edited)[:2], abs=1e-6)


def test_it_starts_from_an_edit_model_too(trained):
    one, other = Networks.start(str(trained / "edit/model")).unet, Networks.start(str(trained / "run.safetensors")).unet
    assert one.config.in_channels == other.config.in_channels == 8 and same_bits(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("channels", (4, 8))
def test_a_file_of_sd_1_s_shapes_needs_no_yaml(trained, channels, tmp_path):
    """All of its 1.07 billion weights are one number stored once."""
    state = {}
    for part, count in (("unet", 686), ("vae", 248), ("text_encoder", 196)):
        given = shapes_of(part, channels)
        assert len(given) == count
        state |= {name: torch.zeros(()).expand(shape) for name, shape in given.items()}
    torch.save({"state_dict": state}, tmp_path / "sd.ckpt")
    clip = tmp_path / "sd.clip"
    clip.mkdir()
    for path in (trained / "edit/model/tokenizer").iterdir():
        (clip / path.name).write_bytes(path.read_bytes())
    (clip / "config.json").write_text(json.dumps(ldm_text_config()))
    networks = Networks.start(str(tmp_path / "sd.ckpt"))
    assert networks.unet.config.in_channels == channels and networks.unet.num_parameters() == 859_520_964 + (channels - 4) * 320 * 9
    assert networks.vae.config.scaling_factor == 0.18215


def ldm_text_config() -> dict:
    from ip2p.checkpoints.clip import STANDARD

    return dict(STANDARD) | {"model_type": "clip_text_model", "architectures": ["CLIPTextModel"], "projection_dim": 768}


def shapes_of(part: str, channels: int) -> dict[str, tuple[int, ...]]:
    """LDM's names and shapes of SD 1.x."""
    from ip2p.checkpoints.convert import names_of, shapes

    params = ldm.standard(channels)
    configs = {"unet": ldm.unet_config(params), "vae": ldm.vae_config(params), "text_encoder": ldm_text_config()}
    names, found = names_of(configs)[part], shapes(part, configs[part])
    return {names[name].ldm: (*shape, 1, 1) if names[name].linear else shape for name, shape in found.items()}


def test_a_file_of_other_shapes_without_its_yaml_is_a_sentence(trained, edit_config, tmp_path):
    file = ldm_file(trained / "text_to_image" / "model", tmp_path / "small.safetensors", yaml=False)
    command = Command(edit_config(file), said=tmp_path / "said")
    assert command.status() == 2 and "has no small.yaml beside it" in command.errors[0]


def test_it_trains_in_full_precision_what_was_stored_in_half(tmp_path):
    save_half(tiny_editor(), tmp_path / "start")
    networks = Networks.start(str(tmp_path / "start"))
    assert {network.dtype for network in (networks.unet, networks.vae, networks.text_encoder)} == {torch.float32}


def save_half(editor: Editor, folder: Path) -> None:
    for network in (editor.unet, editor.vae, editor.text_encoder):
        torch.nn.Module.half(network)
        network.save_pretrained(
            folder / {"UNet2DConditionModel": "unet", "AutoencoderKL": "vae"}.get(type(network).__name__, "text_encoder")
        )
    editor.tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "epsilon"}')


def test_a_start_that_is_not_there_is_a_sentence(edit_config, tmp_path):
    command = Command(edit_config(tmp_path / "none.safetensors"), said=tmp_path / "said")
    assert command.status() == 2 and "There is no model" in command.errors[0]


def test_a_model_that_could_not_be_exported_is_refused_before_training(edit_config, tmp_path):
    save_folder(tiny_editor(), tmp_path / "start")
    command = Command(edit_config(tmp_path / "start", export="ema"), said=tmp_path / "said")
    assert command.status() == 2 and "The UNet has 8 normalisation groups" in command.errors[0]
    assert not (tmp_path / "run" / "edit").exists()


# What it leaves


def test_the_export_is_one_file_with_its_recipe_that_the_editor_reads_as_the_folder(trained):
    picture, instruction = scene(3).pair().original_image, "make the circle red"
    edit = Edit(image=picture, instruction=instruction, steps=3, seed=1, longest_side=64, sampler_name="Euler")
    of_folder, of_file, of_plain = (
        np.asarray(Editor.load(place, "cpu").edit(edit)[0].image, dtype=int)
        for place in (trained / "edit/model", trained / "run.safetensors", trained / "run-plain.safetensors")
    )
    assert abs(of_folder - of_file).max() <= 1 and abs(of_folder - of_plain).max() > 0
    with safe_open(trained / "run.safetensors", "pt") as file:
        about = file.metadata()
    assert about["modelspec.architecture"] == "stable-diffusion-v1/instruct-pix2pix" and about["ip2p.weights"] == "ema"
    recipe = OmegaConf.create(about["ip2p.recipe"])
    assert recipe.stages.edit.steps == STEPS and recipe.data.pairs == "scenes"
    assert recipe.output == trained.name and str(trained) not in about["ip2p.recipe"]


def test_plain_weights_are_those_that_were_trained_and_the_others_their_average(trained, networks):
    prefix = "model.diffusion_model."
    ema, plain = load_file(trained / "run.safetensors"), load_file(trained / "run-plain.safetensors")
    kept = states.read(trained / "edit" / f"state-{STEPS:08d}").tensors
    own = networks.unet.state_dict()
    assert torch.equal(ema[prefix + "out.2.weight"], own["conv_out.weight"]) and torch.equal(
        ema[prefix + "out.2.weight"], kept["ema"]["unet.conv_out.weight"]
    )
    assert torch.equal(plain[prefix + "out.2.weight"], kept["weights"]["unet.conv_out.weight"])
    assert {name: bool(torch.equal(ema[name], plain[name])) for name in ema if not name.startswith(prefix)} == {
        name: True for name in ema if not name.startswith(prefix)
    }


def test_plain_weights_of_any_last_stage_are_exported(trained, tmp_path):
    """Of a decoder trained alone, and of a stage of texts, whose reading is no part of the model."""
    shutil.copytree(trained / "edit" / "model", tmp_path / "stage" / "model")
    bias = torch.full_like(Networks.read(tmp_path / "stage" / "model").vae.decoder.conv_in.bias, 3)
    weights = {"vae.decoder.conv_in.bias": bias, "reading.weight": torch.zeros(2, 32)}
    states.write(tmp_path / "stage", states.State(1, {"weights": weights}, {}), keep=1)
    found = Networks.read(plain(tmp_path / "stage" / "model", tmp_path / "plain"))
    assert torch.equal(found.vae.decoder.conv_in.bias, bias)
    assert same_bits(found.unet.state_dict(), Networks.read(trained / "edit" / "model").unet.state_dict())


def test_the_folder_names_no_place_of_this_machine(trained):
    for path in (trained / "edit" / "model").rglob("*.json"):
        assert str(trained.parent) not in path.read_text(), path


def test_the_vocabulary_lies_there_in_the_files_every_transformers_reads(trained, networks):
    folder = trained / "run.clip"
    words = json.loads((folder / "vocab.json").read_text(encoding="utf8"))
    assert words == networks.tokenizer.get_vocab() and list(words.values()) == sorted(words.values())
    assert (folder / "merges.txt").read_text(encoding="utf8").startswith("#version: 0.2\n")
    assert {word for word in words if word.startswith("<|")} == {TOKENIZER["bos_token"], TOKENIZER["eos_token"]}


# Scenes


def test_scenes_are_judged_by_their_pixels():
    drawn = [scene(i, scenes.UNSEEN) for i in range(40)]
    right = [s.drawn(*s.edited_colours) for s in drawn]
    copied = [s.drawn(s.colour, s.ground) for s in drawn]
    assert scenes.judge(drawn, right) == scenes.Figures(1, 1, 1, 0)
    assert scenes.judge(drawn, copied) == scenes.Figures(0, 1, 0, 0)
    flat = [Image.new("RGB", (64, 64), COLOURS[s.asked]) for s in drawn]
    found = scenes.judge(drawn, flat)
    assert (found.target, found.kept, found.both) == (1, 0, 0) and found.error > 0.1


def test_a_finished_model_is_measured_on_scenes_it_never_saw(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scenes, "STEPS", 2)
    monkeypatch.setattr(scenes, "TEXT_SCALES", (3.0,))
    monkeypatch.setattr(scenes, "IMAGE_SCALES", (1.5, 2.0))
    figures = scenes.measure(trained / "edit" / "model", tmp_path, count=3)
    assert set(figures["controls"]) == {"instruction blanked", "instruction shuffled", "input copied"} and len(figures["settings"]) == 2
    assert figures == json.loads((tmp_path / "figures.json").read_text()) and (tmp_path / "edits.png").exists()
    assert "Both regions right" in capsys.readouterr().out


def test_no_scene_of_the_training_is_one_of_the_measurement():
    seen = {(s.shape, s.colour, s.ground, s.centre) for s in map(scene, range(2000))}
    assert not seen & {(s.shape, s.colour, s.ground, s.centre) for s in (scene(i, scenes.UNSEEN) for i in range(96))}


def test_a_scene_s_texts_are_its_pair_s():
    pairs = Scenes(5)
    for i in range(5):
        pair, texts = pairs[i], pairs.texts(i)
        assert (pair.edit_prompts, pair.original_prompt, pair.edited_prompt) == tuple(
            texts[key] for key in ("edit_prompts", "original_prompt", "edited_prompt")
        )
        assert pair.mask.mode == "L" and pair.mask.size == pair.original_image.size
