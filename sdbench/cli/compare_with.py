"""``sdbench compare RUN --with SITE``: one run among verified runs of similar machines."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sdbench.bundles.installation import kept_installation
from sdbench.cli.output import console, print_json
from sdbench.runs import find_run
from sdbench.words import counted, seconds, shortened

if TYPE_CHECKING:
    from sdbench.board.rows import Interval
    from sdbench.board.similar import FasterRun, PlacedCase, Placing

_SHOWN_FASTER = 5


def compare_with(name: str, root: Path, site: Path, *, as_json: bool) -> int:
    """Show where a run stands; returns the exit code.

    Raises:
        UsageError: there is no such run or no site.
        StoreError: one of them cannot be read.
    """
    from sdbench.board.inputs import rows_of_run
    from sdbench.board.similar import place
    from sdbench.board.site_data import load_site

    rows = load_site(site)
    own = rows_of_run(find_run(root, name))
    placing = place(own, rows, _own_machine_ids(own[0].submission.machine_id) if own else ())
    if as_json:
        print_json({"site": str(site), **msgspec.to_builtins(placing)})
    else:
        _show(placing, site, console())
    return 0


def _own_machine_ids(recorded: str) -> set[str]:
    """The id in the run's record, and the one under which bundles of this installation have it."""
    installation = kept_installation()
    if installation is None:
        return {recorded}
    return {recorded, installation.machine(recorded)}


def _show(placing: "Placing", site: Path, out: Console) -> None:
    def say(words: str) -> None:
        out.print(words, markup=False, soft_wrap=True)

    if placing.reason is not None:
        say(f"{placing.run_id} has no place: {placing.reason}.")
        return
    similar = counted(placing.similar_machines, "similar machine")
    say(f"{placing.run_id} on {placing.machine}, and {similar} of {shortened(str(site))}")
    say("(same chip, GPU cores and memory; verified and publishable runs only):")
    if placing.caveats:
        say(f"note: this run itself could not be published: {', '.join(placing.caveats)}")
    table = Table(show_edge=False, pad_edge=False)
    for column in ("case", "seconds an image", "machines", "faster than", "median", "fastest"):
        table.add_column(column, overflow="fold")
    for case in placing.cases:
        table.add_row(*map(Text, _cells(case)))
    out.print(table)
    for case in placing.cases:
        for one in case.faster[:_SHOWN_FASTER]:
            say(f"faster: {case.case_id}: {_faster_words(one)}")
        if case.faster[_SHOWN_FASTER:]:
            say(f"faster: {case.case_id}: {len(case.faster) - _SHOWN_FASTER} more (--json)")


def _cells(case: "PlacedCase") -> list[str]:
    own = _time_words(case.seconds_per_image, case.ci95)
    if case.percentile is None:
        return [case.setting, own, str(case.machines), f"no place: {case.reason}", "–", "–"]
    share = f"{case.slower} of {case.machines} ({case.percentile:.0f}%)"
    return [
        *(case.setting, own, str(case.machines), share),
        *(seconds(case.median_s), seconds(case.fastest_s)),
    ]


def _faster_words(one: "FasterRun") -> str:
    sure = "" if one.clearly else "; the intervals overlap"
    return (
        f"{_time_words(one.seconds_per_image, one.ci95)} with torch {one.torch}, diffusers "
        f"{one.diffusers}, {one.system} ({one.machine_id}{sure})"
    )


def _time_words(value: float | None, interval: "Interval | None") -> str:
    """``12.3 s (12.1 to 12.5 s)``."""
    if interval is None:
        return seconds(value)
    return f"{seconds(value)} ({seconds(interval[0])} to {seconds(interval[1])})"
