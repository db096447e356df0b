"""One ready instruction: what it may hold, and its words filled in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from reprlib import repr as short
from typing import Any

from ..edit import IMAGE_SCALE, MAX_SCALE, MAX_STEPS, TEXT_SCALE, check_number
from ..errors import EditError
from ..where import NAME, NAMES, Where

GROUPS = (
    "weather", "season", "time of day", "background", "material", "art medium and style",
    "clothes", "hair", "make-up", "glasses", "age", "mood",
)  # fmt: skip
OWN_GROUP = "own"
PAINTED_GROUP = "art medium and style"  # a photograph's own detail would show through the paint
REGIONS = ("all", *NAMES)
WIDE_REGIONS = ("background", "sky", "subject", "person")  # as large as the picture, so that cutting them out gains nothing
MAX_NAME, MAX_INSTRUCTION, MAX_CHOICE = 80, 1000, 200  # characters
MAX_FIELDS, MAX_CHOICES = 10, 100  # words to fill in, and choices for each

FIELD = re.compile(r"\{([^{}]*)\}")
NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff]")  # what a YAML file cannot hold as it is


@dataclass(frozen=True)
class Preset:
    """A ready instruction. Raises EditError when something is missing, too long or out of range.

    key: what scripts name it by; made from the name when left out.
    instruction: with {words} to fill in; several lines are a chain of edits.
    choices: for every word what is offered; a person may fill in something else.
    defaults: what a word is filled with when nobody chooses; the first of its choices when left out.
    region: where the edit acts; `where` has its settings.
    own: saved by the person, not shipped.
    """

    name: str
    instruction: str
    key: str = ""
    group: str = OWN_GROUP
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    defaults: Mapping[str, str] = field(default_factory=dict, hash=False)
    text_scale: float = TEXT_SCALE
    image_scale: float = IMAGE_SCALE
    steps: int = 20
    region: str = "all"
    own: bool = False

    def __post_init__(self):
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("name", one_line("name", self.name, MAX_NAME))
        put("group", one_line("group", self.group, MAX_NAME))
        put("instruction", lines("instruction", self.instruction, MAX_INSTRUCTION))
        put("key", checked_key(self.key or slug(self.name)))
        put("choices", checked_choices(self.choices))
        put("defaults", checked_defaults(self.defaults, self.choices))
        check_template(self.instruction, self.choices, self.defaults)
        put("text_scale", number("text scale", self.text_scale, 0, MAX_SCALE))
        put("image_scale", number("image scale", self.image_scale, 0, MAX_SCALE))
        put("steps", whole_number("steps", self.steps, 1, MAX_STEPS))
        if self.region not in REGIONS:
            raise EditError(f"The region must be one of {', '.join(REGIONS)}, not {short(self.region)}.")

    @property
    def detail(self) -> float:
        """How much of the photograph's own detail suits a full result (`Edit.detail`)."""
        return 0.0 if self.group == PAINTED_GROUP else 1.0

    @property
    def where(self) -> Where | None:
        """Where the edit acts: on its region, a small one edited by itself; None for the whole picture."""
        return None if self.region == "all" else Where(NAME, self.region, only=self.region not in WIDE_REGIONS)

    @property
    def words(self) -> tuple[str, ...]:
        """The words to fill in, in the order of the instruction."""
        return tuple(dict.fromkeys(FIELD.findall(self.instruction)))

    def instruction_for(self, /, **choices: str | None) -> str:
        """The instruction with every word filled in: by what is given, free text too, else by its default.

        What is filled in stays as it is, braces included. Raises EditError for a word that the instruction does not have.
        """
        for word in choices:
            if word not in self.words:
                known = ", ".join(map(quoted, self.words)) or "none"
                raise EditError(f"The preset {quoted(self.name)} has no choice {quoted(word)}; it has {known}.")
        chosen = {word: one_line(f"choice for {quoted(word)}", text, MAX_CHOICE) for word, text in choices.items() if text is not None}
        filled = FIELD.sub(lambda match: {**self.defaults, **chosen}[match[1]], self.instruction)
        if len(filled) > MAX_INSTRUCTION:
            raise EditError(f"The instruction is {len(filled)} characters long with these choices; {MAX_INSTRUCTION} are allowed.")
        return filled

    def variations(self, word: str, /, **choices: str | None) -> tuple[str, ...]:
        """The instruction once for every choice of a word, the others filled in as `instruction_for` does. Raises EditError for a word
        that has no choices, and as `instruction_for` does."""
        if not self.choices.get(word):
            known = ", ".join(map(quoted, filter(self.choices.get, self.words))) or "none"
            raise EditError(
                f"The preset {quoted(self.name)} has no choices for {quoted(word)}, of which to make variations; it has some for {known}."
            )
        return tuple(self.instruction_for(**{**choices, word: choice}) for choice in self.choices[word])

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold: `{key, name, group, instruction, choices, defaults, text_scale, image_scale, steps, region, own}`."""
        return {
            "key": self.key,
            "name": self.name,
            "group": self.group,
            "instruction": self.instruction,
            "choices": {word: list(offered) for word, offered in self.choices.items()},
            "defaults": dict(self.defaults),
            "text_scale": self.text_scale,
            "image_scale": self.image_scale,
            "steps": self.steps,
            "region": self.region,
            "own": self.own,
        }


IN_FILE = tuple(f.name for f in fields(Preset) if f.name not in ("key", "own"))


def from_entry(path: Path, key: Any, entry: Any, own: bool) -> Preset:
    """One entry of a file as a preset. Raises EditError with a sentence that names file and key."""
    try:
        if not isinstance(entry, dict):
            raise EditError("It is no list of settings, one “name: value” a line.")
        unknown = [setting for setting in entry if setting not in IN_FILE]
        if unknown:
            raise EditError(f"It has a setting {quoted(unknown[0])}, which is none of {', '.join(IN_FILE)}.")
        settings = {name: value for name, value in entry.items() if value is not None}
        for needed in ("name", "instruction"):
            if needed not in settings:
                raise EditError(f"It has no {needed}.")
        return Preset(key=checked_key(key), own=own, **settings)
    except EditError as e:
        sentence = str(e)
        raise EditError(f"The preset {quoted(key)} in {path} cannot be used: {sentence[0].lower()}{sentence[1:]}") from e


def slug(name: str) -> str:
    """A key from a name: letters and digits of any script in lower case, hyphens between. A name without any gets a number of its own."""
    for _ in range(2):  # folding can undo the normal form and the normal form the folding; the second round settles both
        name = unicodedata.normalize("NFKC", name).casefold()
    key = ""
    for c in unicodedata.normalize("NFKC", name):
        kind = unicodedata.category(c)[0]  # letter, number, mark (an accent or vowel sign of the letter before it) …
        if kind in "LN" or (kind == "M" and key[-1:] not in ("", "-")):
            key += c
        elif key[-1:] not in ("", "-"):
            key += "-"
    return key[:MAX_NAME].strip("-") or "preset-" + sha256(name.encode(errors="replace")).hexdigest()[:8]


def checked_key(key: Any) -> str:
    if not isinstance(key, str):
        raise EditError(f"Its key must be text, not {short(key)}: put it in quotes.")
    if key != slug(key):
        raise EditError(f"Its key must be lower-case letters, digits and hyphens, for example {quoted(slug(key))}.")
    return key


def checked_choices(choices: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(choices, Mapping):
        raise EditError(f"The choices must be a list for every word, not {short(choices)}.")
    if len(choices) > MAX_FIELDS:
        raise EditError(f"There are choices for {len(choices)} words; {MAX_FIELDS} are allowed.")
    checked = {}
    for word, offered in choices.items():
        if not isinstance(offered, (list, tuple)):
            raise EditError(f"The choices for {quoted(word)} must be a list, not {short(offered)}.")
        if len(offered) > MAX_CHOICES:
            raise EditError(f"There are {len(offered)} choices for {quoted(word)}; {MAX_CHOICES} are allowed.")
        checked[word] = tuple(one_line(f"choice for {quoted(word)}", choice, MAX_CHOICE) for choice in offered)
    return checked


def checked_defaults(defaults: Any, choices: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    if not isinstance(defaults, Mapping):
        raise EditError(f"The defaults must be a value for every word, not {short(defaults)}.")
    first = {word: offered[0] for word, offered in choices.items() if offered}
    return {**first, **{word: one_line(f"default for {quoted(word)}", text, MAX_CHOICE) for word, text in defaults.items()}}


def check_template(instruction: str, choices: Mapping[str, Any], defaults: Mapping[str, str]) -> None:
    if set("{}") & set(FIELD.sub("", instruction)):
        raise EditError(f"The instruction {short(instruction)} has a brace without its partner: braces stand around words to fill in.")
    words = FIELD.findall(instruction)
    for word in words:
        if not word.isidentifier():
            raise EditError(f"The instruction has {in_braces(word)}: only one word of letters, digits and _ may stand in braces.")
        if word not in defaults:
            raise EditError(f"The instruction has {in_braces(word)}, but there are no choices and no default for it.")
    if len(set(words)) > MAX_FIELDS:
        raise EditError(f"The instruction has {len(set(words))} words to fill in; {MAX_FIELDS} are allowed.")
    for word in (*choices, *defaults):
        if word not in words:
            raise EditError(f"There are choices or a default for {quoted(word)}, but the instruction has no {in_braces(word)}.")


def one_line(what: str, text: Any, longest: int) -> str:
    """The text with every run of spaces and line breaks as one space."""
    if not isinstance(text, str):
        raise EditError(f"The {what} must be text, not {short(text)}: put it in quotes.")
    text = " ".join(text.split())
    if not text:
        raise EditError(f"The {what} is empty.")
    if NOT_TEXT.search(text):
        raise EditError(f"The {what} has a control character: leave it out.")
    if len(text) > longest:
        raise EditError(f"The {what} is {len(text)} characters long; {longest} are allowed.")
    return text


def lines(what: str, text: Any, longest: int) -> str:
    """The text line by line as `one_line`, without its empty lines."""
    if isinstance(text, str):
        text = "\n".join(one_line(what, line, longest) for line in text.splitlines() if line.strip())
        if len(text) > longest:
            raise EditError(f"The {what} is {len(text)} characters long; {longest} are allowed.")
        if text:
            return text
    return one_line(what, text, longest)


def number(what: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise EditError(f"The {what} must be a number, not {short(value)}.")
    if isinstance(value, int):
        value = max(min(value, 10**9), -(10**9))  # a longer one does not fit a float
    check_number(what, value, low, high)
    return float(value)


def whole_number(what: str, value: Any, low: int, high: int) -> int:
    if number(what, value, low, high) != int(value):
        raise EditError(f"The {what} must be a whole number, not {value}.")
    return int(value)


def in_braces(word: Any) -> str:
    return quoted(f"{{{word}}}")


def quoted(text: Any) -> str:
    """In quotes and in one line, cut when it is long, whatever is in it."""
    text = " ".join(str(text).split()).encode(errors="replace").decode()
    return f"“{text}”" if len(text) <= MAX_NAME else f"“{text[:MAX_NAME]}…”"
