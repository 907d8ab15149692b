"""The assertion that keeps a Mac awake during a run: is it held, and is it released."""

import time

from sdbench.machine.facts import known
from sdbench.records import InstrumentLine
from sdbench.runner.awake import kept_awake
from sdbench.selftest.judging import Question, all_unknown
from sdbench.selftest.workers import Setup

_ASSERTIONS = ("/usr/bin/pmset", "-g", "assertions")
_SETTLE_S = 0.5

HELD = Question(
    id="sleep-held",
    instrument="assertions against sleep that a run takes",
    source="assertions of caffeinate that pmset lists more than before",
    allowed=0.0,
    ground="a run takes one",
)
RELEASED = Question(
    id="sleep-released",
    instrument="assertions against sleep that a run keeps after its end",
    source="assertions of caffeinate that pmset lists more than before",
    allowed=0.0,
    ground="a run keeps none",
)


def sleep_lines(setup: Setup) -> list[InstrumentLine]:
    """Both lines; unknown where nothing holds off sleep."""
    if setup.system.name() != "Darwin":
        return all_unknown((HELD, RELEASED), "sdbench holds off sleep on macOS only")
    if setup.system.simulated:
        return all_unknown((HELD, RELEASED), "the machine is a recording")
    before = _count(setup)
    with kept_awake():
        time.sleep(_SETTLE_S)
        during = _count(setup)
    time.sleep(_SETTLE_S)
    return judged(before, during, _count(setup))


def judged(before: int | None, during: int | None, after: int | None) -> list[InstrumentLine]:
    """The lines from how many assertions there were."""
    missing = "pmset does not list the assertions"
    held = None if before is None or during is None else float(during - before)
    kept = None if before is None or after is None else float(after - before)
    return [HELD.compare(1.0, held, missing=missing), RELEASED.compare(0.0, kept, missing=missing)]


def _count(setup: Setup) -> int | None:
    said = setup.system.command(_ASSERTIONS)
    return count_assertions(said.stdout) if known(said) and said.exit == 0 else None


def count_assertions(text: str) -> int | None:
    """``pid 123(caffeinate): […] PreventUserIdleSystemSleep named: …`` lines; None: other text.

    The form is that of its manual page and public reports; no recording was at hand.
    """
    if "Assertion status system-wide" not in text:
        return None
    return sum(
        "(caffeinate)" in line and "PreventUserIdleSystemSleep" in line
        for line in text.splitlines()
    )
