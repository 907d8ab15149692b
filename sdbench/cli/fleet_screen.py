"""The screen of ``fleet run`` and ``fleet resume``: painted by a thread of its own.

Whoever hands out slots only notes what happens: a terminal that is stopped, a pipe that nobody
reads and a slow connection hold up the painter alone.
"""

import contextlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from sdbench.records import Compared, Replicate
from sdbench.report.terminal.fleet_progress import FleetProgress, FleetScreen, RunLeft
from sdbench.runner.prepare import make_pace
from sdbench.runner.session import config_of
from sdbench.words import printable

if TYPE_CHECKING:
    from sdbench.fleet.fleet_folder import FleetFolder
    from sdbench.fleet.ledger import Group, WhyLost

_PAINT_EVERY_S = 1.0
_PAINT_AT_MOST_EVERY_S = 0.25
_LAST_LINES_S = 2.0
"""How long to wait at the end for a terminal that does not take what is written to it."""
_LOST_WORDS = {
    "gone": "its worker is gone",
    "silent": "it is not heard of any more",
    "scheduler": "the scheduler is gone",
}


class Screen:
    """A line a machine on a terminal, and above them what matters; elsewhere a line for everything
    that happens."""

    def __init__(
        self,
        out: Console,
        folder: "FleetFolder",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out, self._folder, self._clock = out, folder, clock
        self._live = out.is_terminal and not out.is_dumb_terminal
        self._lock = threading.Lock()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._painter = threading.Thread(target=self._paint, name="screen", daemon=True)
        runs = [_left_of(folder, group) for group in folder.state.groups.values()]
        self._progress = FleetProgress(runs, clock)

    def __enter__(self) -> "Screen":
        self._painter.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.put(None)
        self._painter.join(_LAST_LINES_S)

    # --- what happens -----------------------------------------------------------------------------

    def machine_joins(self, title: str, run: str) -> None:
        """A machine takes part, for the run of that id."""
        groups = self._folder.state.groups.values()
        new = [] if self._progress.knows(run) else [one for one in groups if one.run_id == run]
        left = [_left_of(self._folder, group) for group in new]
        with self._lock:
            for one in left:
                self._progress.adds(one)
            self._progress.joins(title, run)
        self.says(f"{title} takes part in {run}")

    def machine_left_out(self, name: str, why: str) -> None:
        """A machine cannot take part, or no more."""
        with self._lock:
            self._progress.is_gone(name, "left out", why)
        self.says(f"{name} is left out: {why}")

    def machine_lost(self, title: str, why: "WhyLost") -> None:
        """A worker of a machine is gone, or is not heard of."""
        with self._lock:
            self._progress.is_gone(title, "vanished", _LOST_WORDS[why])
        self.says(f"{title}: {_LOST_WORDS[why]}")

    def slot_given(self, title: str, slot: str) -> None:
        """A machine begins with a slot."""
        with self._lock:
            self._progress.begins(title, slot)

    def works_on(self, title: str, doing: str) -> None:
        """A machine does something else than a slot; an empty text: it waits."""
        with self._lock:
            self._progress.works_on(title, doing)

    def compared(self, entries: Sequence[Compared]) -> None:
        """Images were compared with the CPU's."""
        with self._lock:
            self._progress.compared(entries)

    def slot_done(self, title: str, replicate: Replicate, done: int, total: int) -> None:
        """A slot is recorded: a line where output is piped, bad news alone on a terminal."""
        with self._lock:
            self._progress.ends(title, replicate)
        if self._live and replicate.outcome == "ok":
            return
        why = "" if replicate.reason is None else f": {replicate.reason}"
        self.says(f"{done} of {total}  {replicate.replicate_id}  {replicate.outcome}{why}  {title}")

    def says(self, words: str) -> None:
        """Anything else."""
        self._lines.put(words)

    # --- the painter ------------------------------------------------------------------------------

    def _paint(self) -> None:
        """Until the last line; where the machines cannot be painted, the lines go on alone."""
        if self._live:
            with contextlib.suppress(Exception):
                self._paint_live()
                return
        with contextlib.suppress(Exception):
            self._print_lines()

    def _print_lines(self) -> None:
        while (words := self._lines.get()) is not None:
            self._print(words)

    def _print(self, words: str) -> None:
        self._out.print(printable(words), markup=False, soft_wrap=True)

    def _paint_live(self) -> None:
        with Live(console=self._out, auto_refresh=False, transient=True) as live:
            while self._print_waiting():
                with self._lock:
                    picture = FleetScreen(self._progress.rows(), self._progress.whole())
                live.update(picture, refresh=True)
                time.sleep(_PAINT_AT_MOST_EVERY_S)

    def _print_waiting(self) -> bool:
        """Print the lines that came, at least one painting long; False: it was the last."""
        wait_s = _PAINT_EVERY_S - _PAINT_AT_MOST_EVERY_S
        with contextlib.suppress(queue.Empty):
            while (words := self._lines.get(timeout=wait_s)) is not None:
                self._print(words)
                wait_s = 0.0
            return False
        return True


def _left_of(folder: "FleetFolder", group: "Group") -> RunLeft:
    """What of a run is not recorded, as the ledger has it."""
    run = folder.run_of(group.id)
    pace = make_pace(config_of(run), run.plan, run.model, run.device, run.machine)
    left = Counter(
        slot.case_id for slot in run.plan.slots if group.slots[slot.replicate_id].state != "done"
    )
    return RunLeft(run, pace, left)
