"""What the tests of ready instructions share."""

import pytest
from hypothesis import strategies as st

from ip2p.presets import (
    FILE_NAME,
    Preset,
    load,
)  # fmt: skip

SHIPPED = load()
EACH = pytest.mark.parametrize("preset", SHIPPED.values(), ids=SHIPPED)
FOG = Preset(name="Pink fog", instruction="add {colour} fog", choices={"colour": ["pink", "red"]}, text_scale=8, image_scale=1.4, steps=25)
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\ufeff"), min_size=1, max_size=60)


def own_file(folder, text):
    (folder / FILE_NAME).write_text(text, encoding="utf8")
    return folder


def own_only(folder, problems=None):
    return {key: preset for key, preset in load(folder, problems).items() if preset.own}


def sentence(error) -> str:
    text = str(error.value if hasattr(error, "value") else error)
    assert text.endswith(".") and "\n" not in text and len(text) < 600, text
    return text


def every_filling(preset):
    """The instruction once with every choice of every word, the other words by default."""
    yield preset.instruction_for()
    for word, offered in preset.choices.items():
        for choice in offered:
            yield preset.instruction_for(**{word: choice})
