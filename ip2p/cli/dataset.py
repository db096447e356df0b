"""python -m ip2p dataset …: the table of its verbs."""

from __future__ import annotations

import argparse

from . import (
    dataset_calibrate,
    dataset_check,
    dataset_convert,
    dataset_filter,
    dataset_instructions,
    dataset_pairs,
    dataset_photos,
    dataset_scenes,
    dataset_status,
    dataset_view,
)

# Verb: its module, with `add_arguments(parser)` and `run(args) -> exit status`, quick to import; and what it does.
VERBS = {
    "view": (dataset_view, "draw a sheet of pairs: before, the instruction, after, and the pixels that changed"),
    "check": (dataset_check, "decode every pair and name the broken ones"),
    "convert": (dataset_convert, "a pair set to parquet or to the original folder layout"),
    "photos": (dataset_photos, "make pairs from a folder of photographs, by procedural edits"),
    "instructions": (dataset_instructions, "write instructions and edited captions for captions, by a language model"),
    "pairs": (dataset_pairs, "draw picture pairs of such rows, by a text-to-image model with Prompt-to-Prompt"),
    "filter": (dataset_filter, "score pairs, by CLIP and more, and keep the good ones"),
    "calibrate": (dataset_calibrate, "find the thresholds of dataset filter for a scorer, from pairs whose truth is known"),
    "scenes": (dataset_scenes, "rows of synthetic scenes, and what the pairs made of them show"),
    "status": (dataset_status, "how far a run of dataset instructions or dataset pairs is, and what it made"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="dataset_verb", metavar="|".join(VERBS), required=True)
    for verb, (module, summary) in VERBS.items():
        verb_parser = verbs.add_parser(verb, help=summary, description=summary[0].upper() + summary[1:] + ".")
        module.add_arguments(verb_parser)
        verb_parser.set_defaults(run=module.run)
