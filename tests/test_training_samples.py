"""What a stage is trained on: crops, order, samples drawn and cached, folders of pictures, and the tokenizer."""

import os
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

from accelerate import Accelerator
from PIL import Image

from ip2p.dataset.scenes import scene
from ip2p.dataset.varied.captioned import CaptionedScenes
from ip2p.errors import EditError
from ip2p.training import data
from ip2p.training.cache import SHARD, Cache, cached
from ip2p.training.config import Data as DataConfig
from ip2p.training.config import Stage, load
from ip2p.training.data import Order, Samples, collate, crop
from ip2p.training.losses import DenoisingLoss
from ip2p.training.networks import Networks, new_tokenizer, token_ids
from ip2p.training.rows import Rows
from training_runs import only, write_config

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


def samples_of(stage: Stage, networks: Networks, output: Path, seed: int = 0, count: int = 5) -> Samples:
    config = load(write_config(output / "samples.yaml", output=str(output), seed=seed, data={"scenes": count}))
    rows = Rows(config, print)
    if stage.cache:
        draw = cached(output, seed, stage, networks, rows, Accelerator(cpu=True))
    else:
        draw = rows.edits(stage, networks) if stage.kind == "edit" else rows.captions(stage, networks)
    return Samples(draw, stage, seed, 2)


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


@pytest.mark.parametrize("kept", (False, True), ids=("drawn", "from the cache"))
def test_captioned_scenes_are_samples_of_single_pictures(networks, kept, tmp_path):
    scenes = CaptionedScenes(6)
    stage = Stage(kind="text_to_image", size=64, flip=0, cache=kept, train_text=True, drop_text=0, drop_both=0)
    config = load(write_config(tmp_path / "c.yaml", output=str(tmp_path), data={"pairs": "captioned_scenes", "scenes": 6}, stages=only("text_to_image") | {"autoencoder": {}}))  # fmt: skip
    rows = Rows(config, print)
    draw = cached(tmp_path, 0, stage, networks, rows, Accelerator(cpu=True)) if kept else rows.captions(stage, networks)
    samples = [Samples(draw, stage, 0, 1)[n] for n in range(6)]
    assert sorted(rows.texts()) == sorted(map(scenes.caption, range(6)))
    places = [data.row_of(n, 6, 0, 1) for n in range(6)]
    for row, sample in zip(places, samples):
        assert torch.equal(sample["tokens"], token_ids(networks.tokenizer, scenes.caption(row)))
        if not kept:
            shown = torch.from_numpy(np.asarray(scenes.picture(row), np.float32)).permute(2, 0, 1) / 127.5 - 1
            assert torch.allclose(sample["edited"], shown, atol=0.01)


def test_an_edit_can_not_be_learned_of_single_pictures(tmp_path):
    config = load(write_config(tmp_path / "c.yaml", output=str(tmp_path), data={"pairs": "captioned_scenes"}))
    with pytest.raises(EditError, match=r"stages.edit needs pairs, and data.pairs=captioned_scenes has single pictures"):
        Rows(config, print).check()
