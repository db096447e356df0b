"""The options of `dataset instructions`, and which of them can be used together."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ..errors import EditError
from . import runner_options

PER_CAPTION, HELD_OUT, TEMPERATURE, MAX_TOKENS, EXAMPLES, BATCH = 1, 0.1, 0.7, 256, 12, 16
REQUESTS, RETRIES, TIMEOUT = 8, 6, 120.0
INSTRUCTION_WORDS, OUTPUT_WORDS = 30, 100
PASSES, RANK, LEARNING_RATE = 3, 16, 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("captions", type=Path, nargs="?", help="captions as .txt (one a line), .csv, .tsv, .jsonl or .parquet")
    add("--output", type=Path, required=True, metavar="DIR", help="the folder to write, or to go on with")
    add("--column", metavar="NAME", help="the captions' column (default: caption, input, text, prompt, original_prompt or title)")
    add("--writer", choices=("local", "endpoint"), default="local", help="a model on this machine, or any server that speaks OpenAI's API (default: local)")  # fmt: skip
    add("--model", metavar="NAME", help="local: a folder, a GGUF file or a name on the hub; endpoint: its name there")
    add("--per-caption", type=int, default=PER_CAPTION, metavar="N", help=f"instructions asked for each caption (default: {PER_CAPTION})")
    add(
        "--part", default="1/1", metavar="I/N", help="the I-th of N parts of the captions, for several machines; see --merge (default: 1/1)"
    )
    add("--merge", type=Path, nargs="+", metavar="DIR", help="write the rows of these folders as one, instead of asking")
    add("--held-out", type=float, default=HELD_OUT, metavar="SHARE", help=f"captions kept from training (default: {HELD_OUT})")
    add("--seed", type=int, default=0, help="of ids, drawn examples and sampling (default: 0)")
    add("--temperature", type=float, default=TEMPERATURE, help=f"0 takes the likeliest word each time (default: {TEMPERATURE})")
    add("--max-tokens", type=int, default=MAX_TOKENS, metavar="N", help=f"of an answer (default: {MAX_TOKENS})")
    add("--examples", type=int, default=EXAMPLES, metavar="N", help=f"rows shown to a model that was not fine-tuned (default: {EXAMPLES})")
    add("--batch", type=int, default=BATCH, metavar="N", help=f"local and --finetune: rows at a time (default: {BATCH})")
    add(
        "--candidates",
        type=int,
        default=1,
        metavar="N",
        help="local: answers drawn for each row, of which the likeliest edit is taken (default: 1)",
    )
    add("--dry-run", action="store_true", help="print what it would take and stop")
    filters = parser.add_argument_group("filters")
    add = filters.add_argument
    add(
        "--max-instruction-words",
        type=int,
        default=INSTRUCTION_WORDS,
        metavar="N",
        help=f"of an instruction (default: {INSTRUCTION_WORDS})",
    )
    add("--max-output-words", type=int, default=OUTPUT_WORDS, metavar="N", help=f"of an edited caption (default: {OUTPUT_WORDS})")
    add("--words", type=Path, metavar="FILE", help="words that no row may have, one a line")
    add(
        "--faithful",
        action="store_true",
        help="leave out edited captions with words of neither caption nor instruction, as small models invent",
    )
    runner_options.add_arguments(parser, default=runner_options.LOCAL)
    endpoint = parser.add_argument_group("endpoint", "The key is read from OPENAI_API_KEY.")
    add = endpoint.add_argument
    add("--url", help="as http://127.0.0.1:8000/v1 (default: OPENAI_BASE_URL, else OpenAI's)")
    add("--requests", type=int, default=REQUESTS, metavar="N", help=f"under way at a time (default: {REQUESTS})")
    add("--retries", type=int, default=RETRIES, metavar="N", help=f"of a request that failed (default: {RETRIES})")
    add("--timeout", type=float, default=TIMEOUT, metavar="S", help=f"seconds for an answer (default: {TIMEOUT:g})")
    add("--answer", choices=("auto", "schema", "text"), default="auto", help="a JSON schema, text, or a schema where the server takes one (default: auto)")  # fmt: skip
    add("--prompt", choices=("few-shot", "caption"), default="few-shot", help="caption: the caption alone, for a model that --finetune made (default: few-shot)")  # fmt: skip
    add("--price", metavar="IN,OUT", help="of a million tokens read and written")
    add("--max-cost", type=float, metavar="COST", help="stop there; needs --price")
    add("--moderation", action="store_true", help="leave out what the endpoint's moderation flags")
    tuning = parser.add_argument_group("fine-tuning")
    add = tuning.add_argument
    add(
        "--finetune", metavar="ROWS", help="fine-tune --model on these rows, a .jsonl with input, edit and output; seeds: the package's own"
    )
    add("--passes", type=int, default=PASSES, metavar="N", help=f"over the rows (default: {PASSES})")
    add("--rank", type=int, default=RANK, metavar="N", help=f"of the adapters; 0 trains all weights (default: {RANK})")
    add("--learning-rate", type=float, default=LEARNING_RATE, help=f"the highest, after a warm-up (default: {LEARNING_RATE:g})")


def check(args: argparse.Namespace) -> None:
    """Raises EditError for options that can't be used, before anything is read."""
    ways = [name for name, given in (("CAPTIONS", args.captions), ("--merge", args.merge), ("--finetune", args.finetune)) if given]
    if len(ways) != 1:
        given = f", not {' and '.join(ways)}" if ways else ""
        raise EditError(f"Name captions, --merge or --finetune, one of them{given}.")
    if not args.merge and not args.model:
        raise EditError("Name the language model by --model.")
    for option, number, least in (
        ("--per-caption", args.per_caption, 1), ("--max-tokens", args.max_tokens, 1), ("--batch", args.batch, 1), ("--requests", args.requests, 1),
        ("--retries", args.retries, 0), ("--passes", args.passes, 1), ("--candidates", args.candidates, 1), ("--rank", args.rank, 0), ("--examples", args.examples, 0),
        ("--max-instruction-words", args.max_instruction_words, 1), ("--max-output-words", args.max_output_words, 1),
    ):  # fmt: skip
        if number < least:
            raise EditError(f"{option} is at least {least}, not {number}.")
    if not 0 <= args.held_out < 1:
        raise EditError(f"--held-out is a share from 0 to below 1, not {args.held_out:g}.")
    if not 0 <= args.temperature <= 2:
        raise EditError(f"--temperature is from 0 to 2, not {args.temperature:g}.")
    if args.candidates > 1 and not args.temperature:
        raise EditError("--candidates needs a --temperature above 0: at 0 all would be equal.")
    for option, value in (("--timeout", args.timeout), ("--learning-rate", args.learning_rate)):
        if not 0 < value < float("inf"):
            raise EditError(f"{option} is above 0, not {value:g}.")
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", args.part)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise EditError(f"--part is as 1/4, the first of four parts, not {args.part}.")
    runner_options.check(args)
    if args.max_cost is not None and not args.price:
        raise EditError("--max-cost needs --price, what a million tokens cost.")
    price_of(args)


def price_of(args: argparse.Namespace) -> tuple[float, float] | None:
    """Of a million tokens read and written. Raises EditError."""
    if not args.price:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", args.price)
    if not match:
        raise EditError(f"--price is as 0.15,0.6, for a million tokens read and written, not {args.price}.")
    return float(match[1]), float(match[2])
