"""What ``run`` and ``resume`` share: the screen while a session goes on, and its end."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sdbench.analysis.run_summary import as_json
from sdbench.cli.output import console, print_json, print_next
from sdbench.cli.report import write_page
from sdbench.records import Run
from sdbench.report.terminal.progress import ScreenWatcher
from sdbench.report.terminal.session_end import import_words, show_table
from sdbench.runner.loop import Watcher
from sdbench.runner.session import SessionResult
from sdbench.runs import RunFolder
from sdbench.runs.baselines import save_baseline
from sdbench.words import printable, shell


def say_if_not_noted(folder: RunFolder) -> None:
    """A run that cannot be recognised as one's own later costs a question, and no measuring."""
    if folder.not_noted is not None:
        console(err=True).print(
            f"note: {folder.not_noted}; so resume will ask whether to trust this run",
            markup=False,
            soft_wrap=True,
        )


def watcher_for(path: Path) -> Any:
    """Opens the screen for a run in a folder."""

    def open_watcher(run: Run) -> AbstractContextManager[Watcher]:
        return ScreenWatcher(run, console(err=True), str(path))

    return open_watcher


def exit_code(sat: SessionResult) -> int:
    """130 when interrupted, 1 when the guard ended the run, 3 where the environment cannot be
    imported;
    else what the outcomes say."""
    codes = {"interrupted": 130, "swapped-out": 1, "cannot-import": 3}
    return codes.get(sat.end, sat.summary.exit_code)


def end_with(code: int, sat: SessionResult) -> int:
    """The exit code, after the command to go on with where it is not 0."""
    if code and sat.unimportable is None:  # whose last line is a command already
        verb = "diagnose" if sat.end == "complete" else "resume"
        print_next("sdbench", verb, sat.summary.path)
    return code


def keep_baseline(root: Path, name: str, run: Path, *, complete: bool) -> None:
    """Save a complete run as a baseline; of another say that it was not saved."""
    remarks = console(err=True)
    if not complete:
        remarks.print(f"Not saved as baseline {name}: the run is not complete.", markup=False)
        return
    save_baseline(root, name, run)
    command = shell("sdbench", "compare", "latest", "--baseline", name)
    remarks.print(
        f"Saved as baseline {name}. Compare a later run with it: {command}",
        markup=False,
        soft_wrap=True,
    )


def finish(sat: SessionResult, run: Run, json_wanted: bool) -> None:
    """The final table or document, what to do next, and last the page, which takes seconds.

    The page is written even where the table cannot be shown.
    """
    try:
        _show_results(sat, run, json_wanted)
    finally:
        page = None if sat.unimportable is not None else write_page(Path(sat.summary.path))
    if page is not None:
        (console(err=True) if json_wanted else console(lossy=True)).print(
            f"Report: {page}", markup=False, soft_wrap=True
        )


def _show_results(sat: SessionResult, run: Run, json_wanted: bool) -> None:
    remarks = console(err=True)
    if json_wanted:
        print_json(as_json(sat.summary), lossy=True)
    if sat.unimportable is not None:
        for line in import_words(sat.unimportable, sat.summary):
            remarks.print(printable(line), markup=False, soft_wrap=True)
        return
    if not json_wanted:
        show_table(sat, run, console(lossy=True))
    words = {
        "interrupted": "stopped; all measurements are kept",
        "budget": "the time budget (max_minutes) is used up; the remaining processes were not run",
        "swapped-out": (
            "stopped to protect your disk: more was written to swap than "
            "guard.max_swapped_out_bytes allows; all measurements are kept"
        ),
        "device-failed": (
            "a device failed with cases that other devices completed, and got no more of them"
        ),
        "stuck": "a worker did not end even after SIGKILL: restart the machine",
    }
    if sat.end in words:
        again = " --retry" if sat.end == "device-failed" else ""
        remarks.print(
            f"{words[sat.end]}. Continue with: sdbench resume {shell(sat.summary.path)}{again}",
            markup=False,
        )
