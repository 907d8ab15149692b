"""``sdbench selftest``."""

from typing import Any

import click
import msgspec
from rich.markup import escape

from sdbench import machine
from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json
from sdbench.privacy.redact_recorded import hide_path, redact
from sdbench.process.environment import worker_environment
from sdbench.process.find_device import find_device
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import DeviceKind, InstrumentLine, InstrumentStatus, Selftest
from sdbench.runs.voided import not_vouched_for, voided_by, words_of
from sdbench.selftest.kept import keep, last_selftest, offered_before
from sdbench.selftest.looks import run_selftest
from sdbench.selftest.workers import Setup
from sdbench.stacks import resolve_stack
from sdbench.words import counted, printable

_STYLES = {"pass": "green", "fail": "bold red", "unknown": "dim"}


@click.command(name="selftest")
@click.option(
    "--device",
    type=click.Choice(["auto", "mps", "cuda", "cpu"]),
    default="auto",
    show_default=True,
    help="Device to test the instruments on: auto takes mps, else cuda, else cpu.",
)
@click.option(
    "--python",
    default="current",
    show_default=True,
    metavar="PATH",
    help="Interpreter, virtual environment or created environment in which the workers run.",
)
@json_option
def command(device: str, python: str, as_json: bool) -> int:
    """Compare each instrument with an independent source on this machine (at most 5 minutes).

    Each line shows both values, the difference that is allowed and why. A line fails whichever of
    the two sources is wrong. Figures that rest on a failed instrument are unknown in later runs on
    this machine. The exit code is 0 where none failed and all lines about clocks, memory of
    processes and device, images and load passed; else 1. Unknown lines are listed.
    """
    result = examine_instruments(device, python)
    if as_json:
        print_json(document(result))
    else:
        show(result)
    return exit_code(result)


def exit_code(result: Selftest) -> int:
    """0 where all that every run reports was looked at and nothing failed."""
    return 0 if status_of(result) == "pass" else 1


def examine_instruments(device: str, python: str) -> Selftest:
    """Run the selftest, with its progress on standard error.

    Raises:
        UsageError, MachineError: the interpreter or the device cannot be used.
    """
    stack = resolve_stack(python)
    environment = worker_environment({})
    system, probe = machine.open_system(), machine.open_memory_probe()
    executor = ProcessExecutor(probe)
    try:
        with console(err=True).status("starting …", refresh_per_second=1) as status:
            found = find_device(device, stack.interpreter, environment, executor)
            setup = Setup(stack, environment, found.kind, executor, probe, system)
            result = run_selftest(
                setup,
                simulated=found.simulated or system.simulated,
                notice=lambda what: status.update(f"testing {what} …"),
            )
    finally:
        executor.close()  # and with it the probe
    result = _without_secrets(result)
    if not result.simulated:
        try:
            keep(result)
        except OSError as error:
            console(err=True).print(
                f"note: the result could not be kept for later runs ({error.strerror})",
                markup=False,
            )
    return result


def _without_secrets(result: Selftest) -> Selftest:
    """Reasons may quote the error output of a worker."""
    lines = [
        line
        if line.reason is None
        else msgspec.structs.replace(line, reason=hide_path(redact(line.reason)))
        for line in result.lines
    ]
    return msgspec.structs.replace(result, lines=lines)


def mention_selftest(device: DeviceKind) -> None:
    """Offer the selftest to a machine's first run; say what a failed one makes unknown."""
    found = last_selftest(device)
    lines = [] if found is None else words_of(voided_by(found))
    if found is None and not offered_before():
        offer = f"To test them: sdbench selftest --device {device} (at most 5 minutes)"
        lines = [f"the instruments of sdbench were not tested on this machine yet. {offer}"]
    for line in lines:
        console(err=True).print(f"note: {line}", markup=False, soft_wrap=True)


def document(result: Selftest) -> dict[str, Any]:
    """The result as ``--json`` prints it: the record, the status and the ids of failed lines."""
    found: dict[str, Any] = msgspec.to_builtins(result)
    return {
        "status": status_of(result),
        "failed": result.failed,
        "not_vouched_for": not_vouched_for(result),
        **found,
    }


def status_of(result: Selftest) -> InstrumentStatus:
    """``unknown`` where no line failed and something that every run reports was not looked at."""
    if result.failed:
        return "fail"
    return "unknown" if not_vouched_for(result) else "pass"


def show(result: Selftest) -> None:
    """One line for each instrument, its values, and a sentence in the end."""
    out = console()
    if result.simulated:
        out.print("[bold]SIMULATED[/]: part of this machine is a recording or a stand-in")
    for line in result.lines:
        word = f"[{_STYLES[line.status]}]{line.status:<8}[/]"
        out.print(f"{word}{line.id:<36}{escape(printable(_values(line)))}", soft_wrap=True)
        if line.status == "fail":
            _explain(out, line)
    out.print()
    out.print(escape(verdict(result)), soft_wrap=True)


def _values(line: InstrumentLine) -> str:
    if line.status == "unknown" and line.reason:
        return line.reason
    text = f"{_shown(line.measured, line.unit)} / {_shown(line.expected, line.unit)}"
    return text if line.allowed is None else f"{text} (± {_shown(line.allowed, line.unit)})"


def _explain(out: Any, line: InstrumentLine) -> None:
    texts = {"measured": line.instrument, "expected": line.source, "allowed": line.ground}
    for name, text in {**texts, "remark": line.reason or ""}.items():
        if text:
            out.print(f"        [dim]{name:<10}[/]{escape(printable(text))}", soft_wrap=True)


def _shown(value: float | str | None, unit: str) -> str:
    if value is None:
        return "?"
    if isinstance(value, str):
        return value
    if unit == "bytes":
        return f"{value / 1e6:.1f} MB"
    return f"{value:.6g} {unit}".rstrip()


def verdict(result: Selftest) -> str:
    """``39 lines passed; 11 lines unknown``, or the ids of the lines that failed."""
    unknown = sum(line.status == "unknown" for line in result.lines)
    passed = sum(line.status == "pass" for line in result.lines)
    rest = f"; {counted(unknown, 'line')} unknown" if unknown else ""
    if result.failed:
        return (
            f"{counted(len(result.failed), 'line')} failed: {', '.join(result.failed)}{rest}. "
            "Figures that rest on them are unknown in runs on this machine"
        )
    if unsure := not_vouched_for(result):
        rest += f". Not vouched for: {', '.join(unsure)}"
    return f"{counted(passed, 'line')} passed{rest}"
