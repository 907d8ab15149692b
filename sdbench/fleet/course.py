"""A session of a fleet: its settings, its screen, and what holds over all connections."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sdbench.fleet.fleet_folder import FleetFolder
from sdbench.fleet.ledger import Ledger, WhyLost
from sdbench.plan.cost import Pace
from sdbench.records import Compared, Replicate

End = Literal["complete", "interrupted", "stopped", "budget", "no-machine", "refused", "held-back"]


class Watcher(Protocol):
    """What is shown while a fleet works."""

    def machine_joins(self, title: str, run: str) -> None:
        """A machine takes part, for the run of that id."""

    def machine_left_out(self, name: str, why: str) -> None:
        """A machine cannot take part, or no more."""

    def machine_lost(self, title: str, why: WhyLost) -> None:
        """A worker of a machine is gone, or is not heard of."""

    def slot_given(self, title: str, slot: str) -> None:
        """A machine begins with a slot."""

    def works_on(self, title: str, doing: str) -> None:
        """A machine does something else than a slot; an empty text: it waits."""

    def compared(self, entries: Sequence[Compared]) -> None:
        """Images were compared with the CPU's."""

    def slot_done(self, title: str, replicate: Replicate, done: int, total: int) -> None:
        """A slot is recorded."""

    def says(self, words: str) -> None:
        """Anything else."""


@dataclass(frozen=True)
class Settings:
    """How long to wait for what, in seconds; ``machines``: so many must be there to begin."""

    machines: int = 1
    silent_s: float = 60.0
    patience_s: float = 600.0


@dataclass
class Course:
    """A session of a fleet: what holds over all connections to the scheduler."""

    folder: FleetFolder
    watcher: Watcher
    interrupted: Callable[[], bool]
    settings: Settings = field(default_factory=Settings)
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    last_busy: float = field(init=False)
    begun: bool = False
    """Whether enough machines were there once."""
    out_of_time: bool = False
    tries: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Checks and comparisons begun, by group and case; the check has no case."""
    paces: dict[str, Pace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = self.last_busy = self.clock()

    @property
    def state(self) -> Ledger:
        """Where every slot is."""
        return self.folder.state

    @property
    def budget_s(self) -> float | None:
        """Seconds that this session may take; None for no limit."""
        minutes = self.folder.fleet.plan.config.max_minutes
        return 60 * minutes if minutes else None

    def elapsed_s(self) -> float:
        """Seconds since this session began."""
        return self.clock() - self.began

    def out_of_patience(self) -> bool:
        """Whether no machine has been at work for too long."""
        return self.clock() - self.last_busy > self.settings.patience_s

    def wanted_end(self) -> End | None:
        """Why to stop now, though there may be work left."""
        if self.interrupted():
            return "interrupted"
        return "stopped" if self.folder.stop_wanted else None
