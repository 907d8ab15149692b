"""Where and when: which machine did what at what time, from a fleet's ledger or the records.

Clocks of different machines differ. Where the fleet's ledger is there, all times are those of the
machine that has it; else each process has its own machine's. Nothing is shown that has no time.
"""

import bisect
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from sdbench.analysis.case_words import OUTCOME_WORDS, process_name
from sdbench.errors import StoreError
from sdbench.fleet.given_times import GiveEnd, GivenTime, comparing_times, given_times
from sdbench.fleet.ledger_file import read_events, replayed
from sdbench.records import Replicate, Run
from sdbench.report.view.model import BarState, Lane, LaneBar, Schedule
from sdbench.runs import LoadedRun
from sdbench.runs.reading import FLEET_FILE
from sdbench.words import counted, duration

COMPARING = "images compared"
"""The lane of what is done after all processes; which machines did it is not recorded."""
_END_WORDS: dict[GiveEnd, str] = {
    "repeated": "not counted: another machine's record was there first",
    "killed": "its worker process was killed; given again",
    "returned": "came back without a record; given again",
    "no-client": "the client ended; given again",
    "open": "under way",
    "gone": "its worker was gone; given again",
    "silent": "not heard of; given again",
    "scheduler": "the scheduler was lost; given again",
}
# A pause longer than this share of all work is cut to the other one.
_LONG_PAUSE, _CUT_PAUSE = 0.25, 0.04
_FIRST_YEAR, _LAST_YEAR = 2000, 2200
_ID = 6


@dataclass(frozen=True)
class _Timed:
    """A bar with times since 1970, in seconds."""

    lane: str
    state: BarState
    words: str
    begin: float
    end: float


def schedules_of(runs: Sequence[LoadedRun]) -> list[Schedule]:
    """One for all runs of a fleet; without its folder one for each run that machines share."""
    found = []
    for folder, of_fleet in itertools.groupby(runs, fleet_folder_of):
        together = [*of_fleet]
        if folder is not None:
            found.append(_of_fleet(folder, together))
        found += [_of_records([run]) for run in together if folder is None and _is_shared(run)]
    return [schedule for schedule in found if schedule is not None]


def fleet_folder_of(loaded: LoadedRun) -> Path | None:
    """The folder of the fleet that a run is of; None of other runs, and of one to be shared."""
    if loaded.folder is not None:
        return None
    folder = loaded.path.absolute().parent
    return folder if os.path.lexists(folder / FLEET_FILE) else None


def _is_shared(loaded: LoadedRun) -> bool:
    return any(isinstance(entry.machine_id, str) for entry in loaded.attempts)


def _of_records(runs: Sequence[LoadedRun], why: str = "") -> Schedule | None:
    lanes: dict[str, str] = {}
    timed = [bar for run in runs for entry in run.attempts for bar in _own(run.run, entry, lanes)]
    clock = "Times are those of each machine's own clock, so lanes may be shifted against another."
    return _laid_out(timed, lanes, f"{why}{clock}")


def _of_fleet(folder: Path, runs: Sequence[LoadedRun]) -> Schedule | None:
    try:
        events = read_events(folder)
        replayed(folder, events)
    except StoreError:
        return _of_records(runs, "The fleet's ledger cannot be read. ")
    by_id = {loaded.run.run_id: loaded for loaded in runs}
    records = {
        (run_id, entry.replicate_id): entry
        for run_id, loaded in by_id.items()
        for entry in loaded.replicates
    }
    lanes: dict[str, str] = {}
    timed: list[_Timed] = []
    shown: set[tuple[str, str]] = set()
    for one in given_times(events):
        if one.run_id in by_id:
            run = by_id[one.run_id].run
            entry = records.get((one.run_id, one.slot))
            if one.end == "done" and entry is not None:
                shown.add((one.run_id, one.slot))
            timed += _of_give(run, one, entry, lanes)
    if not timed:
        return _of_records(runs, "The fleet's ledger has none of its processes. ")
    own = [
        bar
        for (run_id, slot), entry in records.items()
        if (run_id, slot) not in shown
        for bar in _own(by_id[run_id].run, entry, lanes)
    ]
    comparing = comparing_times(events)
    if comparing is not None and any(loaded.comparisons for loaded in runs):
        timed += _bar(COMPARING, "images", "images compared with the CPU's", *comparing)
        lanes.setdefault(COMPARING, COMPARING)
    clock = "Times are those of the machine that ran the fleet, from its ledger."
    if own:
        what = counted(len(own), "process", "processes")
        clock += f" {what} not in the ledger: with the times of the machine's own clock."
    return _laid_out([*timed, *own], lanes, clock)


def _of_give(
    run: Run, one: GivenTime, entry: Replicate | None, lanes: dict[str, str]
) -> Iterator[_Timed]:
    name = one.slot if entry is None else process_name(entry, run)
    state: BarState
    if one.end != "done":
        state, words = "unknown" if one.end == "open" else "lost", _END_WORDS[one.end]
    elif entry is None:  # nobody knows how it ended
        state, words = "unknown", "no record"
    else:
        state, words = _outcome(entry)
    lane = _lane_of(run, one.machine, lanes)
    yield from _bar(lane, state, f"{name}: {words}", one.begin_utc, one.end_utc)


def _own(run: Run, entry: Replicate, lanes: dict[str, str]) -> Iterator[_Timed]:
    machine = entry.machine_id if isinstance(entry.machine_id, str) else run.machine_id
    state, words = _outcome(entry)
    name = f"{process_name(entry, run)}: {words}"
    yield from _bar(_lane_of(run, machine, lanes), state, name, entry.started_utc, entry.ended_utc)


def _outcome(entry: Replicate) -> tuple[BarState, str]:
    return ("ok" if entry.outcome == "ok" else "bad"), OUTCOME_WORDS[entry.outcome]


def _lane_of(run: Run, machine: str, lanes: dict[str, str]) -> str:
    """The key of a machine's lane; ``lanes`` has their names."""
    chip = str(run.machine.get("chip") or run.machine.get("model") or "machine")
    lanes.setdefault(machine, f"{chip} {machine.removeprefix('m-')[:_ID]}")
    return machine


def _bar(lane: str, state: BarState, words: str, begin: str, end: str) -> Iterator[_Timed]:
    """Nothing where a time cannot be read."""
    try:
        began, ended = (_since_1970_s(text) for text in (begin, end))
    except ValueError:
        return
    yield _Timed(lane, state, words, began, max(began, ended))


def _since_1970_s(text: str) -> float:
    """Raises ValueError for what is no time of a measurement."""
    instant = datetime.fromisoformat(text)
    if not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
        raise ValueError(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=timezone.utc)).timestamp()


def _laid_out(timed: Sequence[_Timed], lanes: dict[str, str], clock: str) -> Schedule | None:
    if not timed:
        return None
    places, pauses_s = _without_pauses(timed)
    by_lane: dict[str, list[LaneBar]] = defaultdict(list)
    for bar, (begin_s, end_s) in sorted(zip(timed, places, strict=True), key=lambda one: one[1]):
        by_lane[bar.lane].append(
            LaneBar(state=bar.state, words=bar.words, begin_s=begin_s, end_s=end_s)
        )
    first = min(timed, key=lambda bar: bar.begin).begin
    ordered = sorted(by_lane, key=lambda lane: (lane == COMPARING, lanes[lane], lane))
    drawn = [Lane(name=lanes[lane], bars=by_lane[lane]) for lane in ordered]
    return Schedule(
        began_utc=_utc(first),
        lanes=drawn,
        took_s=max(end_s for _, end_s in places),
        sentence=_sentence(drawn, clock, pauses_s),
    )


def _utc(since_1970_s: float) -> str:
    return datetime.fromtimestamp(since_1970_s, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def _without_pauses(timed: Sequence[_Timed]) -> tuple[list[tuple[float, float]], list[float]]:
    """Begin and end of each bar in seconds since the first one, long pauses cut; and the pauses."""
    spans: list[list[float]] = []
    for bar in sorted(timed, key=lambda bar: bar.begin):
        if spans and bar.begin <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], bar.end)
        else:
            spans.append([bar.begin, bar.end])
    worked_s = sum(end - begin for begin, end in spans)
    cuts: list[tuple[float, float]] = []  # from when on, and by how much all later times are less
    pauses_s, cut_s = [], spans[0][0]
    for (_, end), (begin, _) in itertools.pairwise(spans):
        if begin - end > _LONG_PAUSE * worked_s:
            pauses_s.append(begin - end)
            cut_s += begin - end - _CUT_PAUSE * worked_s
        cuts.append((begin, cut_s))
    starts = [-float("inf"), *(begin for begin, _ in cuts)]
    amounts = [spans[0][0], *(amount for _, amount in cuts)]

    def placed(bar: _Timed) -> tuple[float, float]:
        amount = amounts[bisect.bisect_right(starts, bar.begin) - 1]
        return bar.begin - amount, bar.end - amount

    return [placed(bar) for bar in timed], pauses_s


def _sentence(lanes: Sequence[Lane], clock: str, pauses_s: Sequence[float]) -> str:
    states = Counter(bar.state for lane in lanes for bar in lane.bars)
    machines = sum(lane.name != COMPARING for lane in lanes)
    words = [
        f"{counted(machines, 'machine')}, {counted(states['ok'], 'process', 'processes')} ok",
        *([f"{states['bad']} ended otherwise"] if states["bad"] else []),
        *([f"{states['lost']} given again or not counted"] if states["lost"] else []),
    ]
    cut = ""
    if pauses_s:
        pauses = counted(len(pauses_s), "pause")
        cut = f" {pauses} without any process, {duration(sum(pauses_s))} in all, cut out."
    return f"{', '.join(words)}. {clock}{cut}"
