"""``sdbench localise --across``: the same search in several environments."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from sdbench.cli.output import console, print_json, print_next
from sdbench.errors import UsageError
from sdbench.localise.across import (
    Environment,
    Searched,
    label_of,
    operator_sentence,
    operators_of,
    search_across,
)
from sdbench.localise.localisation import Localisation
from sdbench.localise.search import LocaliseRequest
from sdbench.privacy.redact_recorded import hide_path
from sdbench.report.terminal.operators import localisation_json
from sdbench.stacks import resolve_stack
from sdbench.words import counted, printable

Look = Callable[[LocaliseRequest], Localisation]


def names_in(texts: Sequence[str]) -> list[str]:
    """The environments of ``--across A,B``, which may be given several times.

    Raises:
        UsageError: fewer than two, or one twice.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    if len(names) < 2 or len({*names}) < len(names):
        raise UsageError(
            "--across: expected two or more different environments, such as torch-2.5,torch-2.13"
        )
    return names


def across(
    request: LocaliseRequest, names: Sequence[str], look: Look, top: int, *, json_wanted: bool
) -> int:
    """Search each environment and report where each operator is wrong; returns the exit code.

    That is 0 only where every environment was searched to its end, and nothing is wrong or beyond
    rounding.
    """
    # All of them before the first search, which takes minutes.
    environments = [
        Environment(name, resolve_stack(name).packages.get("torch", "unknown")) for name in names
    ]
    remarks = console(err=True)

    def search(environment: Environment) -> Localisation:
        words = f"Environment {environment.name}, torch {environment.torch}:"
        remarks.print(printable(words), markup=False, soft_wrap=True)
        return look(dataclasses.replace(request, stack=environment.name))

    searched = search_across(environments, search)
    if json_wanted:
        print_json(document_of(searched, top))
    else:
        _show(searched)
    wrong = [
        one
        for one in searched
        if one.wrong or (one.result is not None and one.result.beyond_rounding)
    ]
    if wrong:
        print_next("sdbench", "localise", *_options(request, wrong[-1].environment.name))
    elif not _whole(searched):
        print_next("sdbench", "doctor", "--python", _first_open(searched).environment.name)
    return 0 if all(one.result is not None and one.result.right for one in searched) else 1


def document_of(searched: Sequence[Searched], top: int) -> dict[str, Any]:
    """The JSON document: every environment, and every operator that is wrong in one of them."""
    return {
        "across": [
            {
                "stack": hide_path(one.environment.name),
                "torch": one.environment.torch,
                "tried": one.tried,
                "reason": one.reason,
                "result": None if one.result is None else localisation_json(one.result, top),
            }
            for one in searched
        ],
        "operators": [
            {
                "op": op,
                "answers": {hide_path(one.environment.name): one.answer(op) for one in searched},
                "sentence": operator_sentence(op, searched),
            }
            for op in operators_of(searched)
        ],
    }


def _show(searched: Sequence[Searched]) -> None:
    out = console()
    if any(one.result is not None and one.result.simulated for one in searched):
        out.print("SIMULATED: no real device made these numbers")
    for one in searched:
        words = f"{one.environment.name}, torch {one.environment.torch}: {_state(one)}"
        out.print(printable(words), markup=False, soft_wrap=True)
    for op in operators_of(searched):
        out.print(printable(operator_sentence(op, searched)), markup=False, soft_wrap=True)
    if not operators_of(searched):
        labels = ", ".join(
            label_of(one.environment, searched) for one in searched if one.result is not None
        )
        out.print(f"No operator is wrong on {labels}.", markup=False, soft_wrap=True)


def _state(one: Searched) -> str:
    if not one.tried:
        return "not tried"
    if one.result is None:
        return f"could not be searched: {one.reason}"
    words = f"{counted(len(one.wrong), 'operator')} wrong, {len(one.result.judged)} calls compared"
    beyond = len(one.result.beyond_rounding)
    words += f", {beyond} beyond rounding" if beyond else ""
    return words if one.result.complete else f"{words}, not to the end"


def _whole(searched: Sequence[Searched]) -> bool:
    return all(one.result is not None and one.result.complete for one in searched)


def _first_open(searched: Sequence[Searched]) -> Searched:
    return next(one for one in searched if one.result is None or not one.result.complete)


def _options(request: LocaliseRequest, stack: str) -> list[str]:
    """The options that repeat the search in one environment, which writes the script."""
    words = ["--stack", stack, "--model", request.model, "--resolution", request.resolution]
    words += ["--device", request.device, "--steps", str(request.steps)]
    words += [] if request.dtype is None else ["--dtype", request.dtype]
    words += ["--slicing"] if request.slicing else []
    words += ["--vae-tiling"] if request.vae_tiling else []
    words += [] if request.batch == 1 else ["--batch", str(request.batch)]
    for lora in request.lora:
        words += ["--lora", lora]
    words += ["--parts", request.parts] if request.parts else []
    words += ["--revision", request.revision] if request.revision else []
    if request.mode != "text-to-image":
        words += ["--mode", request.mode]
        words += [] if request.strength is None else ["--strength", f"{request.strength:g}"]
    return [*words, *(["--allow-pickle"] if request.allow_pickle else [])]
