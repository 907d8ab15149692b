"""What moves on the screen while a run goes on, on standard error, at most once a second.

The screen is never painted because of a timed pass: it follows the parent's own ticks.
"""

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import UNSET
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from sdbench.analysis.case_words import OUTCOME_WORDS, case_words, row_words
from sdbench.analysis.run_summary import disturbances, per_picture, summary_of
from sdbench.analysis.telemetry import WAIT_WORDS
from sdbench.records import InterimAnalysis, Preflight, Replicate, Run, Slot, WaitReason
from sdbench.report.terminal.lines import say_plain
from sdbench.report.terminal.tables import render_summary
from sdbench.report.view.comparison_words import look_lines
from sdbench.report.view.correctness_words import check_words
from sdbench.report.view.passes import replicate_words
from sdbench.runs import LoadedRun
from sdbench.words import duration, printable, seconds

_REPAINT_EVERY_S = 1.0


class ScreenWatcher:
    """A bar with time left on a terminal; a line for each process where output is piped."""

    def __init__(self, run: Run, console: Console, path: str) -> None:
        self._run = run
        self._console = console
        self._path = path
        self._painted_at = float("-inf")
        self._clock: Callable[[], float] = time.monotonic
        self._bar = Progress(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1)
        self._words = ""
        self._blocks = 1 + max((slot.block for slot in run.plan.slots), default=0)
        self._comparing = False
        self._told_of: list[WaitReason] = []

    def __enter__(self) -> "ScreenWatcher":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def checked(self, check: Preflight) -> None:
        """Say how the small image before the run came out."""
        style = "bold red" if check.wrong else ""
        say_plain(self._console, f"check: {check_words(check)}", style=style)

    def slot_begins(self, slot: Slot, done: int, total: int, remaining_s: float) -> None:
        """Show what starts now."""
        count = len(self._run.devices)
        self._words = f"{count} devices" if count > 1 else self._named(slot)
        self._bar.update(self._task, completed=done, total=total)
        self.tick(None, remaining_s)

    def _named(self, process: Slot | Replicate) -> str:
        plan = self._run.plan
        words = row_words(plan.planned(process.case_id).case, process.arm, plan.arms)
        if self._blocks > 1:
            words += f", run {process.block + 1} of {self._blocks}"
        return words

    def waits(self, reasons: list[WaitReason], waited_s: float, limit_s: float) -> None:
        """Say once why nothing runs, then count in the bar."""
        words = "waiting because of " + " and ".join(WAIT_WORDS[reason] for reason in reasons)
        if not waited_s or reasons != self._told_of:
            self._told_of = reasons
            self._console.print(f"{words}, {duration(limit_s - waited_s)} at most", highlight=False)
        self._bar.update(
            self._task, description=f"{words}: {duration(waited_s)} of {duration(limit_s)}"
        )
        self._bar.refresh()

    def tick(self, phase: str | None, remaining_s: float) -> None:
        """Repaint if a second has passed."""
        now = self._clock()
        if now - self._painted_at < _REPAINT_EVERY_S:
            return
        self._painted_at = now
        doing = f": {phase or 'starting'}"
        self._bar.update(
            self._task, description=f"{self._words}{doing} · about {duration(remaining_s)} left"
        )
        self._bar.refresh()

    def compares(self, doing: str, remaining_s: float) -> None:
        """Say once that the measuring is over, then show what is computed."""
        if not self._comparing:
            self._comparing = True
            self._console.print(
                "Measured. Now the CPU makes the reference images, once: about "
                f"{duration(remaining_s)}. Ctrl-C skips this.",
                highlight=False,
            )
        self._words = "the CPU's images"
        self.tick(doing, remaining_s)

    def slot_ends(self, replicate: Replicate, done: int, total: int) -> None:
        """Say what became of it: always when piped, bad news alone on a terminal."""
        self._bar.update(self._task, completed=done, total=total)
        calm = replicate.outcome == "ok" and not disturbances(replicate)
        if self._console.is_terminal and calm:
            return
        steady = per_picture(replicate.steady_median_s, int(self._run.config["images"]))
        outcome = OUTCOME_WORDS[replicate.outcome]
        detail = f", {seconds(steady)} per image" if steady is not None else ""
        if replicate.passes_stopped not in (None, "asked"):
            detail += f", {replicate_words(replicate)}"
        held_up = "; ".join(disturbances(replicate))
        detail += f" ! {held_up}" if held_up else ""
        reason = f" – {printable(replicate.reason)}" if replicate.reason else ""
        where = "" if replicate.placement is UNSET else f", on {replicate.placement.device}"
        say_plain(
            self._console,
            f"[{done}/{total}] {self._named(replicate)}{where}: {outcome}{detail}{reason}",
        )

    def first_figure(self, slot: Slot, pass_s: float, elapsed_s: float) -> None:
        """Something to go by within the first minute."""
        figure = seconds(per_picture(pass_s, int(self._run.config["images"])))
        case = self._run.plan.planned(slot.case_id).case
        say_plain(
            self._console,
            f"first figure, after {duration(elapsed_s)}: {figure} per image ({case_words(case)}; "
            "a first pass, and later ones are usually faster)",
        )

    def block_ends(
        self, block: int, replicates: list[Replicate], elapsed_s: float, remaining_s: float
    ) -> None:
        """After the first of several blocks, show the table as a first look, and the time left."""
        if block == 0 and any(slot.block for slot in self._run.plan.slots):
            summary = summary_of(LoadedRun(Path(self._path), self._run, [], replicates))
            render_summary(summary, self._console, first_look=True)
            say_plain(
                self._console,
                f"Took {duration(elapsed_s)} so far; about {duration(remaining_s)} more to measure "
                f"according to these times, {duration(elapsed_s + remaining_s)} in total.",
            )

    def looked(self, looked: InterimAnalysis, next_s: float, at_most_s: float) -> None:
        """What is decided and what is open; how long until the next look, and at most."""
        for line in look_lines(looked):
            say_plain(self._console, line)
        if looked.next_look is None:
            return
        self._blocks = looked.next_look
        longest = f", and {duration(at_most_s)} at most in total" if at_most_s > next_s else ""
        self._console.print(
            f"  continues to {looked.next_look} processes: about {duration(next_s)}{longest}.",
            highlight=False,
        )
