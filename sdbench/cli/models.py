"""``sdbench models``."""

import os
import sys
from dataclasses import dataclass
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from sdbench import machine
from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json
from sdbench.errors import UsageError
from sdbench.files.user_folders import cache_folder
from sdbench.models import synthetic
from sdbench.models.offline import (
    OfflineModel,
    free_disk_bytes,
    offline_models,
    question_before_making,
    require_disk,
    synthetic_model,
)
from sdbench.models.resolve import find_model
from sdbench.plan.fit import Fit
from sdbench.process.room import room_without_torch
from sdbench.report.terminal.model_progress import prepare_model
from sdbench.runner.fit_of_sizes import SizeFit, fit_of_own_size
from sdbench.words import printable, size

_names = click.argument("names", nargs=-1, required=True, metavar="NAME...")


@click.group(name="models", invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """Models that need no download: list, make, remove.

    Without make or remove they are listed: family, size on disk, predicted memory for one image of
    the model's own size on this machine's GPU (else its CPU), whether it fits into the memory that
    is free now (fits, tight, swaps, fails), and its purpose. sdbench doctor --model NAME shows the
    memory stage by stage, and which settings make it fit.

    A synthetic model has the architecture of a published one and random weights, the same bytes on
    every machine. Its time and memory are therefore those of the real model, and its images are
    noise. `builtin/shapes` is small and trained. A run makes the model that it needs once, in the
    cache folder (SDBENCH_CACHE). Use make to prepare one in advance, and remove to free its disk
    space.

    \b
    sdbench models                               lists the models
    sdbench models make synthetic/sd3            asks first: 15.5 GB
    sdbench run quick --model synthetic/sd3      measures it
    sdbench models remove synthetic/sd3          frees its disk space
    """
    return _list(as_json) if context.invoked_subcommand is None else 0


@command.command(name="make", short_help="Make models before a run needs them.")
@_names
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@json_option
def make_command(names: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Make synthetic models in the cache folder; existing ones are checked and kept.

    On a terminal, models larger than 5 GB need confirmation; elsewhere nothing is asked. Too little
    disk space is reported before anything is written. An incomplete model is never left behind.
    """
    cache, models = cache_folder(), [synthetic_model(name) for name in names]
    missing = {model.name: model for model in models if not synthetic.is_cached(model, cache)}
    require_disk(sum(one.bytes_on_disk for one in missing.values()), " and ".join(missing), cache)
    if not yes:
        asked = (
            question_before_making(one.bytes_on_disk, one.name, cache) for one in missing.values()
        )
        confirm([question for question in asked if question is not None])
    rows = []
    for model in models:
        info = prepare_model(find_model(model.name), console(err=True))
        action = "made" if missing.pop(model.name, None) else "kept"
        rows.append({"name": model.name, "action": action, "path": info.path})
        if not as_json:
            words = "is ready" if action == "made" else "exists already"
            _say(f"{model.name} {words}: {size(model.bytes_on_disk)} in {info.path}")
    if as_json:
        print_json({"models": rows})
    return 0


@command.command(name="remove", short_help="Delete synthetic models.")
@_names
@json_option
def remove_command(names: tuple[str, ...], as_json: bool) -> int:
    """Delete synthetic models from the cache folder. A run that needs one makes it again."""
    models = [synthetic_model(name) for name in names]
    rows = []
    for model in models:
        removed = synthetic.remove(model, cache_folder())
        rows.append({"name": model.name, "removed": removed})
        if not as_json:
            _say(f"{model.name} {'is removed' if removed else 'was not made'}")
    if as_json:
        print_json({"models": rows})
    return 0


def confirm(questions: list[str]) -> None:
    """Ask where somebody can answer; elsewhere go on.

    Raises:
        UsageError: the answer is no.
    """
    if not questions or sys.stdin is None or not sys.stdin.isatty():
        return
    if not click.confirm(f"Note: {'; '.join(questions)}. Continue?", err=True):
        raise UsageError("not started")


@dataclass(frozen=True)
class _Listed:
    """A model, and the memory that one image of its own size needs on this machine."""

    model: OfflineModel
    size: SizeFit | None

    @property
    def fit(self) -> Fit:
        """The verdict."""
        return "unknown" if self.size is None else self.size.fit.fit

    @property
    def fits(self) -> bool | None:
        """Whether it can run without swapping; None where that is not known."""
        return {"fits": True, "tight": True, "unknown": None}.get(self.fit, False)

    @property
    def memory_bytes(self) -> int | None:
        """Its peak of the memory that is the limit."""
        if self.size is None or self.size.fit.worst is None:
            return None
        demand = self.size.fit.demands[self.size.fit.worst]
        return None if demand is None else demand.peak_bytes


def _list(as_json: bool) -> int:
    cache = cache_folder()
    facts = machine.probe_machine(machine.open_system(), cache)
    room, disk_bytes = room_without_torch(facts, os.environ), free_disk_bytes(cache)
    models = [
        _Listed(model, fit_of_own_size(find_model(model.name).outline(), room))
        for model in offline_models(cache)
    ]
    if as_json:
        print_json(
            {
                "models": [_row(model) for model in models],
                "memory_available_bytes": room.available_bytes,
                "device": room.device,
                "device_free_bytes": room.device_free_bytes,
                "disk_free_bytes": disk_bytes,
                "simulated": facts.simulated,
                "folder": str(cache / "models"),
            }
        )
        return 0
    table = Table(show_edge=False, pad_edge=False)
    for column in ("model", "family", "disk", "memory", "fits now", "state", "for"):
        table.add_column(column, overflow="fold")
    for model in models:
        table.add_row(*(escape(printable(cell)) for cell in _cells(model)))
    out = console()
    if facts.simulated:
        out.print("SIMULATED: the facts about the machine come from a recording")
    out.print(table)
    memory = "unknown" if room.available_bytes is None else size(room.available_bytes)
    if room.device == "cuda":
        free = room.device_free_bytes
        memory += f", of the GPU's memory {'unknown' if free is None else size(free)}"
    _say(f"free now: memory {memory}, disk {size(disk_bytes)} in {cache}")
    return 0


def _row(listed: _Listed) -> dict[str, Any]:
    model = listed.model
    return {
        "name": model.name,
        "family": model.family,
        "pipeline_class": model.pipeline_class,
        "disk_bytes": model.bytes_on_disk,
        "memory_bytes": listed.memory_bytes,
        "fits_memory_now": listed.fits,
        "fit": listed.fit,
        "resolution": None if listed.size is None else listed.size.resolution,
        "state": model.state,
        "path": str(model.folder),
        "purpose": model.purpose,
    }


def _cells(listed: _Listed) -> tuple[str, ...]:
    model = listed.model
    states = {
        "made": "made",
        "absent": "not made",
        "unchecked": "changed: checked at its next use",
        "shipped": "in the package",
    }
    return (
        model.name,
        model.family,
        size(model.bytes_on_disk),
        size(listed.memory_bytes),
        listed.fit,
        states[model.state],
        model.purpose,
    )


def _say(text: str) -> None:
    console().print(printable(text), markup=False, soft_wrap=True)
