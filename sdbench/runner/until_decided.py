"""Going on until it is decided: a look after the last block, and the blocks up to the next one.

Only what is still open goes on, so a time budget is spent on what it can still decide.

The plan on disk always ends with the block after which the run is looked at next, so a run that was
stopped is resumed like any other. The looks themselves are records (PROTOCOL 12).
"""

import dataclasses

import msgspec

from sdbench.analysis.interim import look_after, rows_still_open
from sdbench.plan.order import with_blocks
from sdbench.privacy.redact_recorded import hidden_run
from sdbench.records import Slot
from sdbench.runner.loop import RunLoop
from sdbench.runner.resume import remaining_slots
from sdbench.runs import load_run


@dataclasses.dataclass
class UntilDecided:
    """Gives a run loop more slots as long as something is open."""

    loop: RunLoop

    def further(self) -> list[Slot]:
        """Look, say what was seen, and plan the blocks up to the next look; none: stop.

        Raises:
            StoreError: the look or the longer plan could not be written.
        """
        loop = self.loop
        settings, seed = loop.config.until_decided, loop.config.seed
        if settings is None or not loop.run.plan.slots:
            return []
        blocks = 1 + loop.run.plan.slots[-1].block
        loaded = load_run(loop.folder.path)
        looked = look_after(loaded, settings.by, blocks, settings.threshold, settings.max_processes)
        if looked not in loaded.looks[-1:]:  # else a resumed run sees what it saw before
            loop.folder.append(looked)
        slots: list[Slot] = []
        at_most_s = 0.0
        if looked.next_look is not None:
            rows = rows_still_open(loaded, looked)
            plan = with_blocks(loop.run.plan, looked.next_look, seed, rows)
            loop.run = msgspec.structs.replace(loop.run, plan=plan)
            loop.folder.write_run(hidden_run(loop.run))
            slots = remaining_slots(dataclasses.replace(loaded, run=loop.run), retry=False)
            longest = with_blocks(plan, settings.max_processes, seed, rows).slots
            at_most_s = loop.within_budget_s(
                loop.pace.remaining_s([slot for slot in longest if slot.block >= blocks])
            )
        loop.watcher.looked(looked, loop.pace.remaining_s(slots), at_most_s)
        return slots
