"""When slots were given and came back, by the clock of the machine that has the ledger."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sdbench.fleet.ledger import (
    Died,
    Done,
    Ended,
    Event,
    Given,
    Grouped,
    Lost,
    Returned,
    Session,
    WhyLost,
)

GiveEnd = Literal["done", "repeated", "killed", "returned", "no-client", "open"] | WhyLost
"""What became of a give. ``repeated``: another record of the slot was there first; ``killed``: its
worker process was; ``no-client``: the client ended first; ``open``: nothing yet. The others say how
its machine was lost."""


@dataclass
class GivenTime:
    """A slot in the hands of a machine. Times are UTC in ISO 8601."""

    run_id: str
    slot: str
    machine: str
    begin_utc: str
    end_utc: str
    end: GiveEnd = "open"


def given_times(events: Iterable[Event]) -> list[GivenTime]:
    """Every give of a ledger, in order.

    Args:
        events: those of a ledger that :func:`~sdbench.fleet.ledger_file.replayed` accepts.
    """
    gives = _Gives()
    for event in events:
        gives.note(event)
    return gives.ended()


def comparing_times(events: Iterable[Event]) -> tuple[str, str] | None:
    """From the last record of a complete fleet to its end, when images are compared; None: not
    known."""
    since: str | None = None
    found: tuple[str, str] | None = None
    for event in events:
        if isinstance(event, Done | Session):
            since = event.at_utc
        elif isinstance(event, Ended) and since is not None:
            found = (since, event.at_utc) if event.how == "complete" else None
    return found


class _Gives:
    def __init__(self) -> None:
        self._found: dict[int, GivenTime] = {}
        self._open: dict[tuple[str, str], set[int]] = defaultdict(set)
        """Gives that are under way, by machine and process."""
        self._process: dict[int, str] = {}
        self._runs: dict[str, str] = {}
        self._done: set[tuple[str, str]] = set()
        self._last_utc = ""

    def note(self, event: Event) -> None:
        if isinstance(event, Grouped):
            self._runs.setdefault(event.group, event.run_id)
        elif isinstance(event, Given):
            self._found[event.give] = GivenTime(
                self._runs[event.group], event.slot, event.machine, event.at_utc, event.at_utc
            )
            self._process[event.give] = event.process
            self._open[event.machine, event.process].add(event.give)
        elif isinstance(event, Lost):
            for give in sorted(self._open[event.machine, event.process]):
                self._end(give, event.at_utc, event.why)
        elif isinstance(event, Died | Returned):
            self._end(event.give, event.at_utc, "killed" if isinstance(event, Died) else "returned")
        elif isinstance(event, Done):
            repeated = (event.group, event.slot) in self._done
            self._end(event.give, event.at_utc, "repeated" if repeated else "done")
            self._done.add((event.group, event.slot))
        elif isinstance(event, Session):
            for give in sorted(give for gives in self._open.values() for give in gives):
                self._end(give, self._last_utc, "no-client")
        self._last_utc = event.at_utc or self._last_utc

    def ended(self) -> list[GivenTime]:
        for gives in self._open.values():
            for give in gives:
                self._found[give].end_utc = self._last_utc
        return [*self._found.values()]

    def _end(self, give: int | None, at_utc: str, how: GiveEnd) -> None:
        """A process that was found to be killed ended when it was lost; a record may come later."""
        one = self._found.get(give or 0)
        if one is None or give is None or one.end == "done":
            return
        opened = self._open[one.machine, self._process[give]]
        if give in opened or how in ("done", "repeated"):
            one.end_utc = at_utc
        elif how != "killed":
            return
        opened.discard(give)
        one.end = how
