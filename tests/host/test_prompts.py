"""Everything that can be written into the instruction and the negative prompt, against the plain reference."""

import pytest

from webui import to_array

WINTER = "make it winter"
LONG = ", ".join(["snow on the roofs", "ice on the river", "a low sun"] * 8)  # two chunks of 75 tokens
LONGER = ", ".join([LONG] * 2)  # four of them


@pytest.mark.parametrize("together", (True, False))
@pytest.mark.parametrize("sampler", ("Euler", "Heun", "DDIM", "DDIM CFG++"))
@pytest.mark.parametrize(
    "instruction, negative",
    (
        (LONG, ""),
        (WINTER, LONG),
        (LONG, LONGER),
        (LONGER, "blurry"),
        (f"{LONG} AND a red hat", "blurry"),
        (f"{WINTER} AND a red hat", LONG),
    ),
    ids=("long", "long negative", "long and longer", "longer", "long sub-prompt", "sub-prompts and long negative"),
)
def test_prompts_of_different_lengths_equal_the_reference(host, deviation, instruction, negative, sampler, together):
    with host.options(batch_cond_uncond=together):
        assert deviation(instruction=instruction, negative_prompt=negative, sampler_name=sampler) <= 1e-4


@pytest.mark.parametrize("batch", (1, 2))
def test_prompts_of_different_lengths_still_run_no_pass_without_weight(host, batch):
    host.edit(instruction=LONG, image_scale=1, batch_size=batch)
    assert host.rows() == [2 * batch] * 4


def test_prompts_of_a_batch_may_differ_in_length(host):
    host.probe("switch", job=dict(prompt=[WINTER, LONG]))
    together = host.edit(batch_size=2).pixels
    assert host.rows() == [6] * 4
    host.probe("switch", job={})
    assert abs(host.edit(instruction=LONG, seed=8).pixels[0] - together[1]).max() <= 1


@pytest.mark.parametrize("option", ("pad_cond_uncond", "pad_cond_uncond_v0"))
@pytest.mark.parametrize("instruction, negative", ((LONG, ""), (WINTER, LONG), (f"{WINTER} AND a red hat", LONG)))
def test_padded_prompts_run_in_one_batch_and_say_so(host, option, instruction, negative):
    host.edit(instruction=instruction, negative_prompt=negative)
    apart = to_array(host.probe("latents"))
    host.probe("clear")
    with host.options(**{option: True}):
        padded = host.edit(instruction=instruction, negative_prompt=negative)
    assert (to_array(host.probe("latents")) != apart).any()
    assert host.probe("records")["unet"] == [4 if "AND" in instruction else 3] * 4
    assert ("Pad conds v0: True" if option.endswith("v0") else "Pad conds: True") in padded.infotexts[0]


@pytest.mark.parametrize(
    "fields",
    (
        dict(instruction=f"{WINTER} AND a red hat"),
        dict(instruction=f"{WINTER} :0.4 AND a red hat :1.3 AND at night :-0.5", negative_prompt="blurry"),
        dict(instruction="snow :0.5"),
        dict(instruction=f"{WINTER} AND a red hat", batch_size=2),
    ),
    ids=str,
)
@pytest.mark.parametrize("sampler", ("Euler", "DDIM", "DDIM CFG++", "LCM"))
def test_sub_prompts_with_weights_equal_the_reference(deviation, sampler, fields):
    assert deviation(sampler_name=sampler, **fields) <= 1e-4


def test_the_weight_of_a_single_prompt_counts(host):
    half, whole = host.edit(instruction="snow :0.5"), host.edit(instruction="snow")
    assert (half.pixels != whole.pixels).any()


@pytest.mark.parametrize(
    "prompt", ("make it (winter:1.6)", "make it [winter:summer:0.5]", "make it [winter|summer]", "[make it:0.5] winter")
)
@pytest.mark.parametrize("sampler", ("Euler", "Heun", "DDIM"))
@pytest.mark.parametrize("side", ("instruction", "negative_prompt"))
def test_emphasis_and_prompt_editing_act_and_equal_the_reference(host, deviation, prompt, sampler, side):
    assert deviation(sampler_name=sampler, **{side: prompt}) <= 1e-4
    edited, plain = (host.edit(sampler_name=sampler, **{side: text}).pixels for text in (prompt, "make it winter now"))
    assert (edited != plain).any()


def test_a_prompt_that_becomes_the_negative_one_is_merged_from_there(host):
    host.edit(instruction="[summer:winter:0.5]", negative_prompt="winter")
    assert host.rows() == [3, 3, 3, 2]  # the host changes over after the step that reaches the half


def test_a_style_is_the_same_as_its_words(host):
    styled = host.edit(instruction="a house", styles=["watercolour"])
    written = host.edit(instruction="as a watercolour of a house", negative_prompt="photograph")
    assert (styled.pixels == written.pixels).all()
    assert (styled.pixels != host.edit(instruction="a house").pixels).any()


def test_a_style_may_stand_for_the_instruction(host):
    assert host.edit(instruction="", styles=["watercolour"]).infotexts[0].startswith("as a watercolour of")


@pytest.mark.parametrize("text", ("<lora:testlora:1>", "testembedding"), ids=("LoRA", "textual inversion"))
@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
def test_extra_networks_act_equal_the_reference_and_leave_nothing_behind(host, deviation, text, sampler):
    plain = host.edit(sampler_name=sampler)
    with_it = f"{WINTER} {text}"
    assert deviation(sampler_name=sampler, instruction=with_it) <= 1e-4
    assert abs(host.edit(sampler_name=sampler, instruction=with_it).pixels - plain.pixels).max() > 4
    assert (host.edit(sampler_name=sampler).pixels == plain.pixels).all()
