"""What a prompt may hold: the host's parser fails at some texts, and takes minutes for others."""

from __future__ import annotations

from modules import extra_networks, prompt_parser
from modules.sd_hijack import model_hijack

from ..edit import MAX_SCALE, check_number
from ..errors import EditError
from ..presets import quoted

MARKS, MAX_MARKS = "()[]:|", 200  # the time that the host's parser takes grows with their cube: seconds for so many
MAX_EMPHASIS = 1e6
MAX_PARTS = 32  # between AND: each is a row of its own in every pass of the network
CHUNK = 75  # tokens that the text encoder reads at once; BREAK fills a chunk
MAX_CHUNKS, MAX_CHUNKS_OF_SCHEDULE = 64, 400  # of one text, and of all that its steps go through


def check_prompts(p) -> None:
    """Raises EditError for a prompt that the host's parser fails at or takes minutes for. p: the host's processing object, set up."""
    for what, texts in (("instruction", p.all_prompts), ("negative prompt", p.all_negative_prompts)):
        for text in set(texts):
            marks = sum(map(text.count, MARKS))
            if marks > MAX_MARKS:
                raise EditError(f"The {what} has {marks} brackets, colons and bars; {MAX_MARKS} are allowed.")
            parts, weights = [text], []
            if what == "instruction":
                text, networks = extra_networks.parse_prompt(text)
                check_networks(networks)
                (indexes,), parts, _ = prompt_parser.get_multicond_prompt_list([text])
                weights = [weight for _, weight in indexes]
                if len(indexes) > MAX_PARTS:
                    raise EditError(f"The instruction has {len(indexes)} parts with AND between them; {MAX_PARTS} are allowed.")
            try:
                schedules = prompt_parser.get_learned_conditioning_prompt_schedules(parts, p.steps)
                versions = {version for schedule in schedules for _, version in schedule}
                emphasis = [weight for version in versions for _, weight in prompt_parser.parse_prompt_attention(version)]
            except Exception as e:  # lark, the numbers of Python and its recursion limit have no error in common
                raise EditError(f"The {what} can't be read, a number or a bracket in it is wrong: {e}.") from e
            check_length(what, schedules)
            for weight in weights:
                check_number("weight of a part of the instruction", weight, -MAX_SCALE, MAX_SCALE)
            for weight in emphasis:
                check_number(f"emphasis in the {what}", weight, -MAX_EMPHASIS, MAX_EMPHASIS)


def check_length(what: str, schedules: list[list]) -> None:
    """Raises EditError for a text of so many tokens that the text encoder would hold the queue for long.

    schedules: of every part of a prompt its [(last step, text), …], as the host's parser gives them.
    """
    total = 0
    for schedule in schedules:
        # The host encodes every step's text, each as long as the longest.
        longest = max(chunks_of(text) for text in {text for _, text in schedule})
        if longest > MAX_CHUNKS:
            raise EditError(f"The {what} fills {longest * CHUNK} tokens, and {MAX_CHUNKS * CHUNK} are allowed: shorten it.")
        total += longest * len(schedule)
    if total > MAX_CHUNKS_OF_SCHEDULE:
        raise EditError(f"The {what} changes so often that it fills {total * CHUNK} tokens; {MAX_CHUNKS_OF_SCHEDULE * CHUNK} are allowed.")


def chunks_of(text: str) -> int:
    """Of `CHUNK` tokens, as the host's own counter beside the prompt has them."""
    tokens, _ = model_hijack.get_prompt_lengths(text)
    return max(-(-tokens // CHUNK), 1)


def check_networks(networks: dict) -> None:
    """Raises EditError for a LoRA or a hypernetwork without a name or with a weight that is no number, of which the host would
    print a traceback, or that would turn the network to NaN."""
    for kind in ("lora", "lyco", "hypernet"):
        for network in networks.get(kind, ()):
            try:
                _, *numbers = network.positional
                for weight in (*numbers[:2], network.named.get("te", 1), network.named.get("unet", 1)):
                    check_number("weight", float(weight), -MAX_SCALE, MAX_SCALE)
                for rank in (*numbers[2:3], network.named.get("dyn", 1)):
                    int(rank)
            except ValueError as e:
                asked = quoted(f"<{kind}:{':'.join(network.items)}>")
                raise EditError(f"{asked} can't be used: write <{kind}:name:1>, with a weight between -100 and 100.") from e
