"""Ready instructions: templates with choices, scales and steps that suit them. The shipped ones, and a person's own beside them."""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from reprlib import repr as short
from typing import Any

import yaml

from .edit import IMAGE_SCALE, MAX_SCALE, MAX_STEPS, TEXT_SCALE, check_number
from .errors import EditError
from .files import why, written_whole

GROUPS = (
    "weather", "season", "time of day", "background", "material", "art medium and style",
    "clothes", "hair", "make-up", "glasses", "age", "mood",
)  # fmt: skip
OWN_GROUP = "own"
REGIONS = ("all", "subject", "background", "sky", "face", "hair", "clothes", "eyes", "lips")
FILE_NAME = "presets.yaml"
SHIPPED = Path(__file__).with_name(FILE_NAME)
HEADER = "# Your own presets for Instruct edit. Saving a preset rewrites this file: comments are lost then, entries are kept.\n\n"

MAX_NAME, MAX_INSTRUCTION, MAX_CHOICE = 80, 1000, 200  # characters
MAX_FIELDS, MAX_CHOICES = 10, 100  # words to fill in, and choices for each
MAX_OWN, MAX_FILE = 500, 1_000_000  # own presets, and bytes of their file

FIELD = re.compile(r"\{([^{}]*)\}")
NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff]")  # what a YAML file cannot hold as it is

_saving = threading.Lock()


@dataclass(frozen=True)
class Preset:
    """A ready instruction. Raises EditError when something is missing, too long or out of range.

    key: what scripts name it by; made from the name when left out.
    instruction: with {words} to fill in; several lines are a chain of edits.
    choices: for every word what is offered; a person may fill in something else.
    defaults: what a word is filled with when nobody chooses; the first of its choices when left out.
    region: where the edit acts, a hint for masks.
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


def load(user_folder: Path | None = None, problems: list[str] | None = None) -> dict[str, Preset]:
    """Presets by key: the shipped ones, then the person's own from `user_folder`; an own preset replaces a shipped one of its key.

    What is wrong with the person's file is appended to `problems`, a sentence each, and left out; it never raises.
    """
    presets = dict(shipped())
    if user_folder is not None:
        presets.update(own_presets(Path(user_folder) / FILE_NAME, [] if problems is None else problems))
    return presets


def save_own(user_folder: Path, preset: Preset, overwrite: bool = False) -> Preset:
    """Adds a preset to the person's own, or with `overwrite` replaces theirs of the same key; returns it as saved.

    The file is written beside and renamed: it is always whole. Entries that cannot be used stay in it.
    Raises EditError when the preset exists, there are too many, or the file cannot be read or written.
    """
    path = Path(user_folder) / FILE_NAME
    preset = replace(preset, own=True)
    settings = preset.as_dict()
    with _saving:
        entries = read_entries(path)
        if preset.key in entries and not overwrite:
            raise EditError(f"You already have a preset {quoted(preset.key)}: choose another name, or allow it to be overwritten.")
        if preset.key not in entries and len(entries) >= MAX_OWN:
            raise EditError(f"You have {len(entries)} presets of your own, and {MAX_OWN} are allowed: remove some from {path} first.")
        entries[preset.key] = {name: settings[name] for name in IN_FILE}
        text = HEADER + yaml.safe_dump(entries, allow_unicode=True, sort_keys=False)
        if repr(parse(text, path)) != repr(entries):  # repr, because what a person wrote by hand may hold a NaN
            raise EditError(f"The preset {quoted(preset.name)} was not saved: {path} would not be read back as it was written.")
        write(path, text)
    return preset


@lru_cache(maxsize=1)
def shipped() -> dict[str, Preset]:
    # Not by way of `parse`: a WebUI's start waits for this, and our own file needs none of its care.
    entries = yaml.load(SHIPPED.read_text(encoding="utf8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {key: from_entry(SHIPPED, key, entry, own=False) for key, entry in entries.items()}


def preset_named(key: str, presets: Mapping[str, Preset], listed: str = "") -> Preset:
    """The preset of this key. listed: where a person finds all keys, for the refusal. Raises EditError with near keys when there is none."""
    if key not in presets:
        near = get_close_matches(key, presets, n=5, cutoff=0.3) or list(presets)[:5]
        raise EditError(f"There is no preset {quoted(key)}. Near ones: {', '.join(near)}{listed and '; '}{listed}.")
    return presets[key]


def own_presets(path: Path, problems: list[str]) -> dict[str, Preset]:
    try:
        entries = read_entries(path)
    except EditError as e:
        problems.append(str(e))
        return {}
    if len(entries) > MAX_OWN:
        problems.append(f"{path} has {len(entries)} presets and {MAX_OWN} are allowed: those after the first {MAX_OWN} are left out.")
    presets = {}
    for key, entry in list(entries.items())[:MAX_OWN]:
        try:
            presets[key] = from_entry(path, key, entry, own=True)
        except EditError as e:
            problems.append(str(e))
    return presets


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


def read_entries(path: Path) -> dict[Any, Any]:
    """A file's entries by key, unchecked; none when there is no file. Raises EditError when it is not YAML with an entry a key."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise EditError(f"{path} is larger than {MAX_FILE // 1000} kB, too large for presets.")
        return parse(path.read_text(encoding="utf-8-sig"), path)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as e:
        raise EditError(f"{path} could not be read: {why(e)}.") from e


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases, of which a few lines would fill the memory, without a key that stands twice, and with dates as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="an alias (“*a”), which is not allowed: write the values out", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.MarkedYAMLError(problem="a name that stands twice", problem_mark=node.start_mark)
        return mapping


def parse(text: str, path: Path) -> dict[Any, Any]:
    """YAML as plain values. Raises EditError when it is not a preset for every key."""
    try:
        entries = yaml.load(text, PlainLoader)
    except Exception as e:  # YAML, its conversion of numbers and dates, and Python's recursion limit have no error in common
        raise EditError(f"{path} could not be read as YAML: {yaml_fault(e)}.") from e
    entries = {} if entries is None else entries
    if not isinstance(entries, dict):
        raise EditError(f"{path} must have a key for every preset, but it is a list.")
    return entries


def write(path: Path, text: str) -> None:
    """Writes a file of at most MAX_FILE bytes, whole and on the disk before it takes its place. Raises EditError when that fails."""
    data = text.encode()
    if len(data) > MAX_FILE:
        raise EditError(f"{path} would become larger than {MAX_FILE // 1000} kB, too large for presets: remove some first.")
    with written_whole(path, force=True) as beside, open(beside, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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


def yaml_fault(error: Exception) -> str:
    """An error of reading YAML in one line: the problem and its line, where they are known."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"{problem} in line {mark.line + 1}" if mark is not None and problem else why(error)
