"""``sdbench doctor``."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from sdbench.cli.completion import complete_stack
from sdbench.cli.options import json_option, with_option
from sdbench.cli.output import console, print_json
from sdbench.doctor import (
    BEFORE_TORCH,
    WITH_TORCH,
    Check,
    DoctorFacts,
    Examination,
    Request,
    judge,
    worst,
)
from sdbench.errors import UsageError
from sdbench.report.terminal.lines import harmless, say
from sdbench.words import printable, shell

if TYPE_CHECKING:
    from sdbench.doctor.deep import DeepResult
    from sdbench.doctor.probing import ProbedFaults
    from sdbench.records import Selftest
    from sdbench.runner.fit_of_sizes import SizeFit

_WORDS = {"pass": "ok", "warn": "warn", "fail": "FAIL", "unknown": "?"}
_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "unknown": "dim"}


@click.command(name="doctor")
@click.option(
    "--deep",
    is_flag=True,
    help="Also test every operator of a pipeline on the device, and on mps each known fault that "
    "has a probe (less than two minutes).",
)
@click.option(
    "--instruments",
    is_flag=True,
    help="Also compare each instrument with an independent source, as sdbench selftest does (at "
    "most 5 minutes).",
)
@click.option(
    "--python",
    metavar="PATH",
    shell_complete=complete_stack,
    help="Interpreter, virtual environment or created environment to examine; nothing is installed "
    "into it.",
)
@click.option(
    "--model",
    help="Model that must fit. Predicts its memory by stage at 512x512, 1024x1024 and the model's "
    "own size. [default: the model of the default configuration]",
)
@with_option
@json_option
def command(
    deep: bool,
    instruments: bool,
    python: str | None,
    model: str | None,
    site: Path | None,
    as_json: bool,
) -> int:
    """Check whether this machine is set up correctly for Stable Diffusion.

    Checks the machine, an interpreter and its torch, and reports for each check what was found,
    what was expected, why it matters and how to fix it. It changes nothing, installs nothing and
    uses no network. Exits with 1 if a check failed.

    With --model and --with it also shows what similar machines of a board measured of the model.
    """
    if site is not None and model is None:
        raise UsageError("--with: expected --model too").then_with("--model=synthetic/sd15")
    out = console(err=as_json)
    report = _Report(None if as_json else out)
    with Examination(Request(python=python, model=model)) as examination:
        report.opens(examination)
        facts = examination.before_torch()
        report.add(judge(BEFORE_TORCH, facts))
        with console(err=True).status("importing torch and diffusers …", refresh_per_second=1):
            facts = examination.with_torch(facts)
    report.add(judge(WITH_TORCH, facts))
    found, probed = None, None
    if deep:
        found = _look_deep(facts, report)
    if found is not None and found.device == "mps":
        probed = _probe_faults(facts, report)
    tested = _with_instruments(python) if instruments else None
    sizes = [] if model is None else _fit_of_sizes(facts)
    measured, passed = None, True
    if site is not None:
        from sdbench.cli.measured import measured_for_model

        measured = measured_for_model(site, facts)
    if tested is not None:
        from sdbench.cli.selftest import document as instruments_document
        from sdbench.cli.selftest import exit_code, show

        passed = exit_code(tested) == 0
    if as_json:
        document = _document(facts, report.checks, found, probed, sizes)
        if measured is not None:
            document["measured"] = measured.document
        if tested is not None:
            document["instruments"] = instruments_document(tested)
        print_json(document)
    else:
        if sizes:
            from sdbench.report.terminal.memory_page import show_sizes

            show_sizes(sizes, facts.model.outline.name, out)
        if measured is not None:
            measured.show(out)
        if tested is not None:
            show(tested)
        report.closes(facts)
    return 1 if worst(report.checks) == "fail" or not passed else 0


def _with_instruments(python: str | None) -> "Selftest":
    from sdbench.cli.selftest import examine_instruments

    return examine_instruments("auto", python or "current")


def _look_deep(facts: DoctorFacts, report: "_Report") -> "DeepResult | None":
    from sdbench.doctor.deep import cannot_be_deep, deep_checks, examine_device

    reason = cannot_be_deep(facts)
    if reason is not None:
        report.add([reason])
        return None
    with console(err=True).status("starting …", refresh_per_second=1) as status:
        found = examine_device(facts, lambda what: status.update(f"trying {what}"))
    report.add(deep_checks(found))
    return found


def _probe_faults(facts: DoctorFacts, report: "_Report") -> "ProbedFaults":
    from sdbench.doctor.probing import probe_check, probe_faults

    with console(err=True).status("starting …", refresh_per_second=1) as status:
        probed = probe_faults(facts, lambda what: status.update(f"trying {what}"))
    report.add([probe_check(facts, probed)])
    return probed


def _fit_of_sizes(facts: DoctorFacts) -> "list[SizeFit]":
    from sdbench.doctor.free_memory import room_of
    from sdbench.runner.fit_of_sizes import fit_of_sizes

    return fit_of_sizes(facts.model.outline, room_of(facts))


def _document(
    facts: DoctorFacts,
    checks: list[Check],
    deep: "DeepResult | None",
    probed: "ProbedFaults | None",
    sizes: list["SizeFit"],
) -> dict[str, Any]:
    from sdbench.doctor.deep import as_json as deep_json
    from sdbench.machine import or_none
    from sdbench.privacy.redact_recorded import hide_path  # brings the whole store with it
    from sdbench.runner.prepare import machine_record
    from sdbench.runs.free_text import map_texts

    document: dict[str, Any] = {
        "status": worst(checks),
        "simulated": facts.simulated,
        "interpreter": facts.interpreter.path,
        "checks": msgspec.to_builtins(checks),
        "machine": machine_record(facts.machine.identity),
        "versions": {
            "python": or_none(facts.interpreter.python),
            **(or_none(facts.interpreter.packages) or {}),
        },
    }
    if sizes:
        from sdbench.runner.fit_of_sizes import size_document

        room = sizes[0].fit.room
        document["memory"] = {
            "model": facts.model.outline.name,
            "device": room.device,
            "machine_available_bytes": room.available_bytes,
            "device_free_bytes": room.device_free_bytes,
            "sizes": [size_document(one) for one in sizes],
        }
    if deep is not None:
        document["deep"] = deep_json(deep)
    if probed is not None:
        from sdbench.doctor.probing import as_json as probed_json

        document["deep"]["probes"] = probed_json(probed)
    return map_texts(document, hide_path)


class _Report:
    """Shows results as soon as they are ready; without a console they are only kept."""

    def __init__(self, out: Console | None) -> None:
        self._out = out
        self.checks: list[Check] = []

    def opens(self, examination: Examination) -> None:
        """The first line names what is examined, the second what is simulated."""
        self._print(f"[bold]Examining {escape(printable(examination.title))}[/]")
        if examination.recorded:
            self._print("[bold]SIMULATED[/]: a recording is judged, not this machine")
        elif examination.preloads:
            self._print(
                f"[bold]SIMULATED[/] where {escape(printable(examination.preloads))} replaces a "
                "device (SDBENCH_WORKER_PRELOAD)"
            )

    def add(self, checks: Iterable[Check]) -> None:
        """Store and show some verdicts."""
        for check in checks:
            self.checks.append(check)
            self._show(check)

    def closes(self, facts: DoctorFacts) -> None:
        """The summary sentence and the next step."""
        self._print("")
        self._print(escape(_verdict(self.checks, facts)))
        self._print(escape(_next_step(self.checks, facts)))

    def _show(self, check: Check) -> None:
        word = f"[{_STYLES[check.status]}]{_WORDS[check.status]:<4}[/]"
        self._say(check.found, lead=f"{word}  {check.id:<22}")
        if check.status in ("warn", "fail"):
            self._explain("expected", check.expected)
            self._explain("why", check.why)
            self._explain("do", check.remedy or "")

    def _explain(self, what: str, text: str) -> None:
        for line in text.splitlines():
            lead = f"        [dim]{what:<10}[/]"
            if "&&" in line or what == "do":  # a command, to be pasted
                self._print(f"{lead}{harmless(line)}")
            else:
                self._say(line, lead)
            what = ""

    def _say(self, text: str, lead: str) -> None:
        if self._out is not None:
            say(self._out, harmless(text), lead=lead)

    def _print(self, text: str) -> None:
        if self._out is not None:
            self._out.print(text, soft_wrap=True)


# What a promise rests on. Whether mps computes is never told of a recording, nor what imports.
_GROUNDS = (
    *("memory", "torch-version", "stack-compatible", "mps-available", "torch-imports"),
    "stack-imports",
)


def _verdict(checks: list[Check], facts: DoctorFacts) -> str:
    ids = {status: [c.id for c in checks if c.status == status] for status in _WORDS}
    untold = f" ({len(ids['unknown'])} could not be determined)" if ids["unknown"] else ""
    if ids["fail"]:
        return f"not ready: {', '.join(ids['fail'])}{untold}"
    untried = "stack-imports" if facts.recorded else ""
    grounds = {*_GROUNDS} - {untried}
    if facts.is_mac and facts.machine.identity.virtual is True:  # of which many do not compute
        grounds.add("mps-computes")
    missing = [name for name in ids["unknown"] if name in grounds]
    if missing:
        return f"no fault found, but this could not be determined: {', '.join(missing)}{untold}"
    device = facts.expected_device()
    if ids["warn"]:
        remarks = "one remark" if len(ids["warn"]) == 1 else f"{len(ids['warn'])} remarks"
        return f"works on {device}, with {remarks}: {', '.join(ids['warn'])}{untold}"
    return f"ready: Stable Diffusion runs here on {device}{untold}"


def _next_step(checks: list[Check], facts: DoctorFacts) -> str:
    failed = next((check for check in checks if check.status == "fail"), None)
    if failed is not None and failed.remedy is not None:
        words = f"Next, for {failed.id}: {failed.remedy.splitlines()[0]}"
        return words if "sdbench " in words else f"{words}; then: sdbench doctor"
    from sdbench.plan.read_config import load_config

    model, usual = facts.model.outline.name, load_config("default").model
    return "Next: sdbench run" + ("" if model == usual else f" --model {shell(model)}")
