"""Options that several verbs share."""

from pathlib import Path
from typing import Any

import click

from sdbench.cli.completion import complete_baseline

DEFAULT_ROOT = Path("results")
_RESULTS: dict[str, Any] = {
    "type": click.Path(file_okay=False, path_type=Path),
    "default": DEFAULT_ROOT,
    "show_default": True,
    "help": "Results folder, which holds the run folders.",
}
results_option = click.option("-o", "--results", "root", **_RESULTS)
"""``-o ROOT``: the folder that holds run folders."""
results_option_alone = click.option("--results", "root", **_RESULTS)
"""The same of verbs whose ``-o`` is what they write."""
lora_option = click.option(
    "--lora",
    multiple=True,
    metavar="FILE[:WEIGHT]",
    help="Add a LoRA (.safetensors) to the model, e.g. --lora style.safetensors:0.8. Repeatable.",
)
"""``--lora FILE[:WEIGHT]``: a LoRA on top of the model."""
devices_option = click.option(
    "--devices",
    metavar="all|D,D",
    help="Measure on several devices of this host at the same time, each with a share of the "
    "cores: 'all', or cuda:0,cuda:1; cpu:0,cpu:1 are equal shares of the cores, a NUMA node each "
    "where there are as many. [default: one device]",
)
"""``--devices``: what of the host measures at the same time."""
mode_option = click.option(
    "--mode",
    type=click.Choice(["text-to-image", "image-to-image"]),
    help="Input of the pipeline: a text, or a text and a built-in image. [default: text-to-image]",
)
"""``--mode``: what images begin with."""
strength_option = click.option(
    "--strength",
    type=float,
    metavar="S",
    help="Strength of image-to-image, above 0 up to 1. [default: 0.6]",
)
"""``--strength``: how far an image may be from the one that it begins with."""
parts_option = click.option(
    "--parts",
    metavar="FOLDER",
    help="Folder in the layout of diffusers with the components that a single-file model lacks "
    "(tokenizer, text encoders, VAE).",
)
"""``--parts FOLDER``: the rest of a model in one file."""
revision_option = click.option(
    "--revision",
    metavar="REV",
    help="Branch, tag or commit of a model of the Hub. [default: the newest, or the one in the "
    "local cache]",
)
"""``--revision REV``: which state of a model of the Hub."""
save_baseline_option = click.option(
    "--save-baseline",
    "saved_as",
    metavar="NAME",
    shell_complete=complete_baseline,
    help="Save the new run under this name in the results folder, to compare with later.",
)
"""``--save-baseline NAME``: a name that points to a run."""
with_option = click.option(
    "--with",
    "site",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="SITE",
    help="Board to compare with, a folder that 'sdbench board build' wrote.",
)
"""``--with SITE``: what similar machines measured."""
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output."
)
"""``--json``: exactly one document on standard output."""
force_option = click.option(
    "--force", is_flag=True, help="Overwrite files that sdbench did not write. [default: refuse]"
)
"""``--force``: write over files of others too."""
