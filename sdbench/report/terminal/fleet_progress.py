"""What a fleet is doing, a line a machine, as far as it fits on the screen.

Only what was reported or measured is shown: heat and images are those of a machine's last process,
and "unknown" where its record has none.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sdbench.analysis.case_words import CONTENT_WORDS, CORRECT_WORDS, process_words, row_words
from sdbench.plan.cost import Pace
from sdbench.records import Compared, Replicate, Run, Slot
from sdbench.words import counted, duration, printable

UNKNOWN = "unknown"
_OWN_LINES = 4
"""Lines that are not machines: the head, "and N more", the whole, and the cursor's."""
_HEADS = ("machine", "", "slot", "run", "heat", "image")
_WIDTHS = (18, 19, 7, 10, 8, 12)
"""Of the columns in a terminal of 80."""
_MOST_MACHINE = 34
_BAR = 16
MachineState = Literal["left out", "vanished", "at work", "waiting"]
_MOST_IMPORTANT_FIRST: tuple[MachineState, ...] = ("vanished", "left out", "at work", "waiting")
_VERDICTS = CORRECT_WORDS | {"drift": "slightly off"}


@dataclass
class _Machine:
    title: str
    state: MachineState
    run_id: str = ""
    doing: str = ""
    slot: Slot | None = None
    since: float = 0.0
    last: Replicate | None = None
    image: str = UNKNOWN


@dataclass
class RunLeft:
    """A run of the fleet, and how many processes of each case have no record yet."""

    run: Run
    pace: Pace
    left: Counter[str]
    slots: Mapping[str, Slot] = field(init=False)

    def __post_init__(self) -> None:
        self.slots = {slot.replicate_id: slot for slot in self.run.plan.slots}

    def left_s(self, machines: int) -> float | None:
        """Seconds until all is recorded, on so many machines at once; None where there is none."""
        seconds = sum(count * self.pace.slot_s(case) for case, count in self.left.items())
        if not seconds:
            return 0.0
        return seconds / machines if machines else None


@dataclass(frozen=True)
class Row:
    """A machine's line, in words."""

    machine: str
    doing: str
    left: str = ""
    run_left: str = ""
    heat: str = UNKNOWN
    image: str = UNKNOWN


class FleetProgress:
    """What is known of a fleet's machines and runs. A call takes microseconds and writes nothing;
    threads that share it need a lock of their own."""

    def __init__(
        self, runs: Iterable[RunLeft] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._runs = {one.run.run_id: one for one in runs}
        self._machines: dict[str, _Machine] = {}
        self._clock = clock

    def joins(self, title: str, run_id: str) -> None:
        """A machine takes part, or is heard of again."""
        known = self._machines.setdefault(title, _Machine(title, "waiting"))
        known.run_id, known.state, known.slot = run_id, "waiting", None
        known.doing = "waiting"

    def knows(self, run_id: str) -> bool:
        """Whether a run is known."""
        return run_id in self._runs

    def adds(self, run: RunLeft) -> None:
        """A run that has just begun."""
        self._runs[run.run.run_id] = run

    def is_gone(self, title: str, state: MachineState, why: str) -> None:
        """A machine is left out, or not there any more."""
        known = self._machines.setdefault(title, _Machine(title, state))
        known.state, known.slot, known.doing = state, None, why

    def begins(self, title: str, slot_id: str) -> None:
        """A machine was given a slot."""
        known = self._machines.get(title)
        if known is None or known.run_id not in self._runs:
            return
        run = self._runs[known.run_id].run
        slot = self._runs[known.run_id].slots[slot_id]
        known.state, known.slot, known.since = "at work", slot, self._clock()
        case = run.plan.planned(slot.case_id).case
        known.doing = row_words(case, slot.arm, run.plan.arms)
        planned = run.plan.processes(slot.case_id, slot.arm)
        if planned > 1:
            known.doing += f", {process_words(slot.block, planned)}"

    def works_on(self, title: str, doing: str) -> None:
        """A machine does something else than a slot; an empty text: it waits."""
        known = self._machines.get(title)
        if known is not None and known.state in ("at work", "waiting"):
            known.state, known.slot = ("at work" if doing else "waiting"), None
            known.doing, known.since = doing or "waiting", self._clock()

    def ends(self, title: str, replicate: Replicate) -> None:
        """A slot is recorded."""
        known = self._machines.get(title)
        if known is None or known.run_id not in self._runs:
            return
        run = self._runs[known.run_id]
        if run.left[replicate.case_id] > 0:
            run.left[replicate.case_id] -= 1
        run.pace.note(replicate)
        known.last, known.image = replicate, image_words(replicate)
        self.works_on(title, "")

    def compared(self, entries: Iterable[Compared]) -> None:
        """Images were compared with the CPU's."""
        verdicts = {entry.replicate_id: entry.verdict for entry in entries}
        for known in self._machines.values():
            verdict = None if known.last is None else verdicts.get(known.last.replicate_id)
            if verdict is not None:
                known.image = _VERDICTS[verdict]

    def rows(self) -> list[Row]:
        """A line a machine, the most important first."""
        ordered = sorted(
            self._machines.values(),
            key=lambda one: (_MOST_IMPORTANT_FIRST.index(one.state), one.title),
        )
        return [self._row(one) for one in ordered]

    def whole(self) -> tuple[int, int, str]:
        """Slots done, slots in all, and a sentence on time and machines."""
        total = sum(len(run.slots) for run in self._runs.values())
        done = total - sum(run.left.total() for run in self._runs.values())
        left_s = [run.left_s(self._there(name)) for name, run in self._runs.items()]
        known_s = [one for one in left_s if one is not None]
        if not self._runs:
            left = "waiting for machines"
        elif len(known_s) < len(left_s):
            left = "time left unknown"
        else:
            left = f"about {duration(max(known_s))} left" if any(known_s) else "all recorded"
        count = Counter(one.state for one in self._machines.values())
        gone = [f"{count[state]} {state}" for state in ("vanished", "left out") if count[state]]
        there = counted(count["at work"] + count["waiting"], "machine")
        return done, total, ", ".join([left, there, *gone])

    def _there(self, run_id: str) -> int:
        return sum(
            one.run_id == run_id and one.state in ("at work", "waiting")
            for one in self._machines.values()
        )

    def _row(self, one: _Machine) -> Row:
        run = self._runs.get(one.run_id)
        left = run_left = ""
        if run is not None and one.slot is not None:
            left_s = run.pace.slot_s(one.slot.case_id) - (self._clock() - one.since)
            left = duration(left_s) if left_s > 0 else "late"
        if run is not None and one.state in ("at work", "waiting"):
            left_s = run.left_s(self._there(one.run_id)) or 0.0
            run_left = duration(left_s) if left_s > 0 else ""
        heat = UNKNOWN if one.last is None else heat_words(one.last)
        return Row(one.title, one.doing, left, run_left, heat, one.image)


def heat_words(replicate: Replicate) -> str:
    """The highest temperature of a process's GPU, or its thermal pressure; throttling first."""
    telemetry = replicate.telemetry
    if telemetry is None:
        return UNKNOWN
    if telemetry.gpu_throttled:
        return "slowed"
    if telemetry.thermal_peak not in (None, "nominal"):
        return str(telemetry.thermal_peak)
    if telemetry.gpu_temperature_peak_c is not None:
        return f"{telemetry.gpu_temperature_peak_c:.0f} °C"
    return telemetry.thermal_peak or UNKNOWN


def image_words(replicate: Replicate) -> str:
    """What is known of a process's last image before it is compared with the CPU's."""
    measured = [one for one in replicate.of_kind("measured") if one.images]
    if not measured:
        return UNKNOWN
    image = measured[-1].images[-1]
    if image.broken is not None:
        return "black" if image.broken == "black" else "NaN"
    return UNKNOWN if image.content is None else CONTENT_WORDS[image.content]


class FleetScreen:
    """Lines for as many machines as the terminal has room for, and one for the whole."""

    def __init__(self, rows: Sequence[Row], whole: tuple[int, int, str]) -> None:
        self._rows, self._whole = rows, whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        most = max(1, console.height - _OWN_LINES)
        table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        widths = _widths(options.max_width)
        for width in widths:
            table.add_column(width=width, no_wrap=True, overflow="crop")
        if self._rows:
            table.add_row(*(Text(name, style="bold") for name in _HEADS))
        for row in self._rows[:most]:
            cells = (row.doing, row.left, row.run_left, row.heat, row.image)
            machine = _fitting(printable(row.machine), widths[0])
            table.add_row(*(Text(cell) for cell in (machine, *map(printable, cells))))
        yield table
        if len(self._rows) > most:
            yield Text(f"and {len(self._rows) - most} more")
        done, total, words = self._whole
        line = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        bar = ProgressBar(total=max(total, 1), completed=done, width=_BAR)
        line.add_row(f"{done}/{total}", bar, Text(words, no_wrap=True, overflow="crop"))
        yield line


def _widths(width: int) -> list[int]:
    """Of the columns; what there is beyond the least goes to the machine, then to what it does."""
    spare = max(0, width - sum(_WIDTHS) - len(_WIDTHS))
    machine = min(spare, _MOST_MACHINE - _WIDTHS[0])
    return [_WIDTHS[0] + machine, _WIDTHS[1] + spare - machine, *_WIDTHS[2:]]


def _fitting(title: str, width: int) -> str:
    """A machine's name, its chip cut and its number kept."""
    chip, _, number = title.rpartition(" ")
    if len(title) <= width or not chip:
        return title
    return f"{chip[: max(0, width - len(number) - 1)]} {number}"
