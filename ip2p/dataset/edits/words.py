"""How people ask for procedural edits: the phrasings of phrasings.yaml, filled in."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

FILE = Path(__file__).with_name("phrasings.yaml")
STRENGTH = "strength"
FRAMED, SENTENCE, AMERICAN = 0.3, 0.15, 0.3  # shares of phrasings that get a frame, a capital letter, American spelling
COMPOSED = 24  # phrasings of a kind's forms that one photograph gets
SPELLINGS = {"colour": "color", "grey": "gray", "posterise": "posterize"}


@dataclass(frozen=True)
class Words:
    """Templates of one kind, with {it}, {thing}, {behind} and the parameter to fill in.

    do: imperatives; say: others; composed: the forms filled with the kind's words; held_out: never trained on, even
    where another template gives the same words. caption: of the edited picture, with {photo} and the parameter.
    """

    do: tuple[str, ...]
    say: tuple[str, ...]
    composed: tuple[str, ...]
    held_out: tuple[str, ...]
    caption: str


@cache
def phrasing_data() -> Mapping[str, Any]:
    """What stands in phrasings.yaml."""
    return cast("Mapping[str, Any]", OmegaConf.to_container(OmegaConf.load(FILE)))


@cache
def words_of(kind: str) -> Words:
    entry, forms = phrasing_data()["kinds"][kind], phrasing_data()["forms"]
    composed = (form.replace("{x}", word) for name, words in entry.get("forms", {}).items() for word in words for form in forms[name])
    return Words(tuple(entry["do"]), tuple(entry["say"]), tuple(composed), tuple(entry["held_out"]), entry["caption"])


@cache
def held_out_pattern(kind: str, parameter: str, thing: str) -> re.Pattern:
    """Matches whatever a held-out phrasing of the kind can be filled into."""
    fill, things = phrasing_data()["fill"], sorted({*phrasing_data()["subject"], thing} - {""})
    words = {"it": fill["it"], "thing": things, "behind": [text.replace("{thing}", thing) for text in fill["behind"] for thing in things]}

    def pattern(template: str) -> str:
        parts = re.split(r"\{(\w+)\}", template)
        parts[::2] = (re.sub(r"\ba\b", "an?", re.escape(part)) for part in parts[::2])
        parts[1::2] = (".*" if name == parameter else f"(?:{'|'.join(words[name])})" for name in parts[1::2])
        return "".join(parts).replace(r".*\ ", r"(?:.*\ )?").replace(r"\ .*", r"(?:\ .*)?")  # a word that is left out takes its space along

    return re.compile("|".join(map(pattern, words_of(kind).held_out)))


def phrasings(kind: str, parameter: str, value: str, thing: str, rng: random.Random) -> tuple[list[str], list[str]]:
    """All of a kind's phrasings for one photograph: those to train on, and those kept from training.

    thing: what the subject is called, "" where nobody knows. rng: draws which word stands for {it}, which phrasings are
    framed by “please” and the like, and how they are spelled.
    """
    words = words_of(kind)

    def fill(template: str) -> str:
        word = value
        if parameter == STRENGTH:
            word = rng.choice(phrasing_data()["strengths"][value])
        text = template.replace("{behind}", rng.choice(phrasing_data()["fill"]["behind"]))
        text = text.replace("{it}", rng.choice(phrasing_data()["fill"]["it"]))
        subject = thing if thing and rng.random() < 0.5 else rng.choice(phrasing_data()["subject"])
        text = text.replace("{thing}", subject)
        return tidy(text.replace(f"{{{parameter}}}", word) if parameter else text)

    def filled(templates: Iterable[str]) -> Iterator[str]:
        return (fill(template) for template in templates if not parameter or f"{{{parameter}}}" in template or value == "")

    def to_train(templates: Iterable[str]) -> Iterator[str]:
        return (text for text in filled(templates) if not held_out_forms.fullmatch(text))

    held_out_forms = held_out_pattern(kind, parameter, thing)
    train = []
    for text in to_train(words.do):
        framed = rng.random() < FRAMED
        train.append(as_typed(rng.choice(phrasing_data()["frames"]).replace("{do}", text) if framed else text, rng))
    composed = rng.sample(words.composed, min(COMPOSED, len(words.composed)))
    train += [as_typed(text, rng) for text in to_train((*words.say, *composed))]
    held_out = list(filled(words.held_out))
    return list(dict.fromkeys(train)), list(dict.fromkeys(held_out))


def as_typed(text: str, rng: random.Random) -> str:
    if rng.random() < AMERICAN:
        for british, american in SPELLINGS.items():
            text = text.replace(british, american)
    if rng.random() < SENTENCE:
        text = text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")
    return text


def tidy(text: str) -> str:
    """Double spaces, where a word was left out, closed; “an” before a vowel."""
    text = " ".join(text.split())
    return re.sub(r"\b(a)(?= [aeio])", "an", text)


def caption(kind: str, parameter: str, value: str, photo: str) -> str:
    """Of the edited picture, photo being the original's."""
    text = words_of(kind).caption.replace("{photo}", photo)
    return tidy(text.replace(f"{{{parameter}}}", value) if parameter else text)


def thing_in(name: str) -> str:
    """What a file's name calls its subject: “red-panda-2.jpg” → “red panda”; "" for a name that says nothing."""
    words = re.split(r"[^a-z]+", re.sub(r"\bby\b.*|\bbackground\b", "", re.sub(r"[-_\d.]+", " ", Path(name).stem.lower())))
    words = [word for word in words if word]
    is_name = 1 <= len(words) <= 3 and all(len(word) > 2 for word in words) and words[0] not in NOT_NAMES
    return " ".join(words) if is_name else ""


NOT_NAMES = {"img", "dsc", "dscn", "dcim", "pxl", "picture", "photo", "image", "screenshot", "untitled", "scan"}
