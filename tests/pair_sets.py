"""Small pair sets in the columns and folders that published ones have."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures

from ip2p.dataset.pairs import Pair
from picture_files import saved

SCORES = ("p2p_threshold", "cfg_scale", "clip_sim_0", "clip_sim_1", "clip_sim_dir", "clip_sim_image")


def picture(seed: int, size: tuple[int, int] = (48, 32)) -> Pictures.Image:
    """Soft noise, different for every seed."""
    levels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Pictures.fromarray(levels).resize(size, Pictures.Resampling.BICUBIC)


def jpeg(seed: int, size: tuple[int, int] = (48, 32)) -> bytes:
    return saved(picture(seed, size), "JPEG", quality=90)


def erased(size: tuple[int, int]) -> bytes:
    """MagicBrush's mask: the picture, its left half transparent."""
    image = picture(7, size).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    return saved(image, "PNG")


def a_pair(i: int, **more) -> Pair:
    return Pair(picture(i), picture(100 + i), (f"make it {i}",), **more)


def rich_pairs() -> Iterator[Pair]:
    """Of five prompts; seeds, scores, extra columns and a mask are in some rows only."""
    mask = Pictures.new("L", (48, 32), 255)
    for i in range(12):
        scores = {"clip_sim_dir": i / 3, "count": i} if i % 2 else {}
        extra = {"kind": "sepia", "share": 0.1 * i, "turn": i} if i % 3 else {}
        yield a_pair(
            i // 3, seed=i if i % 4 else None, scores=scores, extra=extra, mask=mask if i == 5 else None, original_prompt="é" * (i // 3)
        )
    yield replace(a_pair(3), edit_prompts=("make it 3", "three it", " spaces are kept "), seed=3)


def column(values: list, feature) -> tuple[list, object]:
    return (
        [value if value is None else {"bytes": value, "path": None} for value in values] if isinstance(feature, Image) else values
    ), feature


def write_set(path: Path, columns: dict[str, tuple[list, object]], **options) -> Path:
    """columns: name: values and their feature; pictures are bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    filled = {name: column(*about) for name, about in columns.items()}
    data = {name: values for name, (values, _) in filled.items()}
    Dataset.from_dict(data, features=Features({name: feature for name, (_, feature) in filled.items()})).to_parquet(path, **options)
    return path


def published(count: int = 3) -> dict[str, dict]:
    """Each set's columns, as its card on the hub lists them."""
    before, after = [jpeg(i) for i in range(count)], [jpeg(100 + i) for i in range(count)]
    texts = [f"make it {i}" for i in range(count)]
    text, number, image = Value("string"), Value("int32"), Image()
    return {
        "timbrooks/instructpix2pix-clip-filtered": {
            "original_prompt": ([f"caption {i}" for i in range(count)], text),
            "original_image": (before, image),
            "edit_prompt": (texts, text),
            "edited_prompt": ([f"new caption {i}" for i in range(count)], text),
            "edited_image": (after, image),
        },
        "fusing/instructpix2pix-1000-samples": {
            "input_image": (before, image),
            "edit_prompt": (texts, text),
            "edited_image": (after, image),
        },
        "osunlp/MagicBrush": {
            "img_id": ([str(1000 + i // 2) for i in range(count)], text),
            "turn_index": ([1 + i % 2 for i in range(count)], number),
            "source_img": (before, image),
            "mask_img": ([erased((96, 64)) for _ in range(count)], image),
            "instruction": (texts, text),
            "target_img": (after, image),
        },
        "TIGER-Lab/OmniEdit": {
            "omni_edit_id": ([f"task_{i}" for i in range(count)], text),
            "task": (["removal"] * count, text),
            "src_img": (before, image),
            "edited_img": (after, image),
            "edited_prompt_list": ([[text, f"{text}, at length"] for text in texts], List(text)),
            "width": ([48] * count, Value("int64")),
            "height": ([32] * count, Value("int64")),
            "sc_score_1": ([9.0] * count, Value("float64")),
            "o_score": ([9.5] * count, Value("float64")),
        },
        "limingcv/SuperEdit-40K": {
            "input_image": (before, image),
            "edited_image": (after, image),
            "edit_prompts": ([[text, f"{text}, at length"] for text in texts], List(text)),
        },
    }


def write_original_layout(folder: Path, key: str = "input") -> Path:
    """As generate_img_dataset.py and prepare_dataset.py leave it: numbers with gaps, the caption under `key`, one prompt of which
    nothing passed the filter, metadata by falling direction while seeds.json goes by the file's name."""
    listed = []
    for number, seeds in {0: [4100000000, 77], 3: [], 4: [5], 9: [31, 4, 15]}.items():
        name = f"{number:07d}"
        place = folder / name
        place.mkdir(parents=True)
        prompt = {
            key: f"a caption — {number}",
            "edit": f"make it {number}",
            "output": f"a new caption {number}",
            "url": f"https://example.org/{number}",
        }
        (place / "prompt.json").write_text(json.dumps(prompt))
        with open(place / "metadata.jsonl", "w") as file:
            for rank, seed in enumerate(seeds):
                (place / f"{seed}_0.jpg").write_bytes(jpeg(seed))
                (place / f"{seed}_1.jpg").write_bytes(jpeg(seed + 1))
                scores = {name: (seed % 97 + i) / 7 for i, name in enumerate(SCORES)} | {"clip_sim_dir": 0.9 - rank / 10}
                file.write(f"{json.dumps(dict(seed=seed, **scores))}\n")
        if not seeds:
            (place / "metadata.jsonl").unlink()
        if pictures := sorted(place.glob("*_0.jpg")):
            listed.append((name, [picture.name.split("_")[0] for picture in pictures]))
    (folder / "seeds.json").write_text(json.dumps(sorted(listed)))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def same_picture(a: Pictures.Image, data: bytes) -> bool:
    return a.tobytes() == Pictures.open(io.BytesIO(data)).convert("RGB").tobytes()
