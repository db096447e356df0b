"""What a run trains on, opened once it is needed, and the samples that each stage draws from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..dataset.check import check_pairs
from ..dataset.open import open_pairs
from ..dataset.pairs import Pair, PairSet
from ..dataset.scenes import Scenes
from ..dataset.varied.captioned import CaptionedScenes
from ..errors import EditError
from .config import AUTOENCODER, DISTILL, EDIT, TEXT, Config, Stage
from .data import Draw, Folder, crop, crop_generator, dropped
from .networks import Networks, token_ids

SCENES, CAPTIONED_SCENES = "scenes", "captioned_scenes"  # sets that no file holds


class Rows:
    """say: what gets sentences about broken rows."""

    def __init__(self, config: Config, say: Callable[[str], None]):
        self.config, self.say = config, say

    @cached_property
    def folder(self) -> Folder:
        return Folder(self.config.data)

    @cached_property
    def pairs(self) -> PairSet | Scenes:
        data = self.config.data
        return Scenes(data.scenes) if data.pairs == SCENES else open_pairs(self.place, data.split or None)

    @cached_property
    def single(self) -> CaptionedScenes | None:
        """The set where its rows are single pictures with a caption, no pairs."""
        return CaptionedScenes(self.config.data.scenes) if self.config.data.pairs == CAPTIONED_SCENES else None

    @property
    def fingerprint(self) -> str:
        """Of the set: another one when its content is another."""
        return self.single.fingerprint if self.single else self.pairs.fingerprint

    @property
    def place(self) -> str | Path:
        """Where the pair set is: a path, or a name on the hub."""
        path = Path(self.config.data.pairs).expanduser()
        return path if path.exists() else self.config.data.pairs

    @cached_property
    def usable(self) -> Sequence[int]:
        """The rows that can be read. Raises EditError when too many can't."""
        if self.single:
            return range(len(self.single))
        if isinstance(self.pairs, Scenes):
            return range(len(self.pairs))
        return check_pairs(self.pairs, self.config.data.max_broken, self.say)

    def check(self) -> None:
        """Raises EditError for what a stage would find out only when its turn comes."""
        kinds = {stage.kind for stage in self.config.stages.values()}
        if self.single and (
            wrong := next((name for name, stage in self.config.stages.items() if stage.kind in (EDIT, TEXT, DISTILL)), None)
        ):
            raise EditError(f"stages.{wrong} needs pairs, and data.pairs={CAPTIONED_SCENES} has single pictures: name a pair set.")
        if self.config.data.pairs:
            self.usable  # noqa: B018
        if TEXT in kinds:
            self.kinds  # noqa: B018
        if self.config.validation.every and (EDIT in kinds or (AUTOENCODER in kinds and not self.config.data.pictures and not self.single)):
            self.shown  # noqa: B018

    @cached_property
    def shown(self) -> list[Pair]:
        """The pairs that validations look at, spread over their set; in place of broken ones the first that are whole. Raises EditError."""
        validation = self.config.validation
        pairs = open_pairs(self.place, validation.split) if validation.split else self.pairs
        rows: Sequence[int] = range(len(pairs)) if validation.split else self.usable
        count = min(validation.rows, len(rows))
        spread = [rows[i * len(rows) // count] for i in range(count)]
        shown: list[Pair] = []
        for row in chain(spread, (row for row in rows if row not in spread)):
            if len(shown) == count:
                break
            try:
                shown.append(pairs[row])
            except EditError as e:  # a split that is only looked at was not checked
                self.say(str(e))
        if not shown:
            raise EditError(f"validation.split: {self.config.data.pairs} has no rows in “{validation.split}” that can be shown.")
        return shown

    @property
    def shown_pictures(self) -> list[Image.Image]:
        """The pictures that validations of an autoencoder look at. Raises EditError as `shown` does."""
        if self.single:
            return [self.single.picture(i) for i in range(min(self.config.validation.rows, len(self.single)))]
        return [picture for pair in self.shown for picture in (pair.original_image, pair.edited_image)]

    def texts(self) -> list[str]:
        """Every text of the set once, sorted."""
        if self.single:
            return sorted(map(self.single.caption, self.usable))
        every: set[str | None] = set()
        for i in self.usable:
            texts: Mapping[str, Any] = self.pairs.texts(i)
            every.update(texts["edit_prompts"], (texts["original_prompt"], texts["edited_prompt"]))
        return sorted(text for text in every if text)

    def pictures(self, stage: Stage) -> Draw:
        """For the autoencoder: the folder's pictures, or both pictures of every pair."""
        if self.config.data.pictures:

            def draw(row: int, rng: np.random.Generator, variant: int) -> dict[str, torch.Tensor]:
                return {"pixels": self.crop([self.folder[row]], stage, row, variant)[0]}

            return Draw(len(self.folder), draw)

        def draw_of_rows(number: int, rng: np.random.Generator, variant: int) -> dict[str, torch.Tensor]:
            row, which = divmod(number, self.per_row)
            return {"pixels": self.crop([self.pictures_of(row)[which]], stage, row, variant)[0]}

        return Draw(self.per_row * len(self.usable), draw_of_rows)

    @property
    def per_row(self) -> int:
        """Pictures with a caption in a row: two of a pair."""
        return 1 if self.single else 2

    def pictures_of(self, row: int) -> list[Image.Image]:
        """The picture, or of a pair both. row: of those that can be read."""
        if self.single:
            return [self.single.picture(self.usable[row])]
        pair = self.pairs[self.usable[row]]
        return [pair.original_image, pair.edited_image]

    def captions_of(self, row: int) -> tuple[str, ...]:
        """Of each of its pictures. row: of those that can be read."""
        if self.single:
            return (self.single.caption(self.usable[row]),)
        texts: Mapping[str, Any] = self.pairs.texts(self.usable[row])
        return texts["original_prompt"], texts["edited_prompt"]

    @cached_property
    def kinds(self) -> list[tuple[str, str]]:
        """Every kind of edit with its parameter once, sorted. Raises EditError when the set does not name them."""
        kinds = {kind_of(self.pairs.texts(i)) for i in self.usable}
        if any(not kind for kind, _ in kinds):
            raise EditError(f"{self.config.data.pairs} has no column “kind”: a stage of texts learns to tell kinds of edits apart.")
        return sorted(kinds)

    def phrasings(self, networks: Networks) -> Draw:
        """For the text encoder alone: a phrasing and the number of its kind."""
        number = {kind: i for i, kind in enumerate(self.kinds)}

        def draw(row: int, rng: np.random.Generator, variant: int) -> dict[str, torch.Tensor]:
            texts = self.pairs.texts(self.usable[row])
            text = texts["edit_prompts"][int(rng.integers(len(texts["edit_prompts"])))]
            kind = number[kind_of(texts)]
            return {"tokens": token_ids(networks.tokenizer, text), "kind": torch.tensor(kind)}

        return Draw(len(self.usable), draw)

    def captions(self, stage: Stage, networks: Networks) -> Draw:
        """For text to image: every picture with its caption."""

        def draw(number: int, rng: np.random.Generator, variant: int) -> dict[str, torch.Tensor]:
            row, which = divmod(number, self.per_row)
            no_text, _ = dropped(stage, rng.random())
            pixels = self.crop([self.pictures_of(row)[which]], stage, row, variant)[0]
            return {"edited": pixels, "tokens": token_ids(networks.tokenizer, "" if no_text else self.captions_of(row)[which])}

        return Draw(self.per_row * len(self.usable), draw)

    def captioned(self, stage: Stage, networks: Networks) -> Draw:
        """For CLIP: every picture with its caption."""

        def draw(number: int, rng: np.random.Generator, variant: int) -> dict[str, torch.Tensor]:
            row, which = divmod(number, self.per_row)
            pixels = self.crop([self.pictures_of(row)[which]], stage, row, variant)[0]
            return {"pixels": pixels, "tokens": token_ids(networks.tokenizer, self.captions_of(row)[which])}

        return Draw(self.per_row * len(self.usable), draw)

    def edits(self, stage: Stage, networks: Networks) -> Draw:
        """For an edit stage: both pictures of a pair and one of its phrasings."""

        def draw(row: int, rng: np.random.Generator, variant: int) -> dict[str, torch.Tensor]:
            pair = self.pairs[self.usable[row]]
            no_text, no_image = dropped(stage, rng.random())
            original, edited = self.crop([pair.original_image, pair.edited_image], stage, row, variant)
            text = pair.edit_prompts[int(rng.integers(len(pair.edit_prompts)))]
            tokens = token_ids(networks.tokenizer, "" if no_text else text)
            return {"original": original, "edited": edited, "tokens": tokens, "drop_image": torch.tensor(no_image)}

        return Draw(len(self.usable), draw)

    def crop(self, pictures: Sequence[Image.Image], stage: Stage, row: int, variant: int) -> list[torch.Tensor]:
        """→ (3, size, size) in [-1, 1] each, the same crop and flip of all."""
        return crop(pictures, stage, crop_generator(self.config.seed, row, variant))


def kind_of(texts: Mapping[str, Any]) -> tuple[str, str]:
    """(kind of edit, its parameter), empty where a row does not name them."""
    return texts.get("kind") or "", texts.get("parameter") or ""
