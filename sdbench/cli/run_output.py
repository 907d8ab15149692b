"""What ``sdbench run`` prints of a plan, and what ``--fail-on`` makes of the results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from sdbench.analysis.run_summary import RunSummary
from sdbench.cli.devices import devices_document, show_devices
from sdbench.cli.output import console, print_json
from sdbench.privacy.redact_recorded import hide_path
from sdbench.report.terminal.plan_page import show_plan
from sdbench.runner.memory_fit import fit_document
from sdbench.runner.predictions import basis_words
from sdbench.runner.prepare import Prepared

if TYPE_CHECKING:
    from sdbench.cli.measured import OnYourChip
    from sdbench.devices.host import Device


def show_run_plan(
    prepared: Prepared,
    measured: "OnYourChip | None",
    devices: "Sequence[Device]",
    json_wanted: bool,
) -> None:
    """The plan and what it costs, for ``--dry-run``."""
    plan = prepared.plan
    if json_wanted:
        print_json(
            {
                "config": msgspec.to_builtins(prepared.config),
                "device": prepared.device.kind,
                "simulated": prepared.device.simulated,
                "plan": msgspec.to_builtins(plan),
                "estimate": {
                    "duration_s": prepared.estimate.duration_s,
                    "at_most_s": prepared.at_most.duration_s,
                    "likely_s": prepared.likely_s,
                    "basis": None if prepared.likely_s is None else basis_words(),
                    "peak_memory_bytes": prepared.at_most.peak_memory_bytes or None,
                    "disk_bytes": prepared.at_most.disk_bytes,
                    "download_bytes": getattr(prepared.model.download, "size_bytes", 0),
                },
                "memory": fit_document(prepared.memory),
                "machine": prepared.machine,
                "versions": {
                    hide_path(name): {"python": stack.python, **stack.packages}
                    for name, stack in prepared.stacks.items()
                },
                **({} if measured is None else {"measured": measured.document}),
                **devices_document(devices),
            }
        )
        return
    show_plan(prepared, console(), () if measured is None else measured.words)
    show_devices(prepared, devices, console())


def why_closed(summary: RunSummary, conditions: tuple[str, ...]) -> str | None:
    """Why the gate fails where no image could be judged; None where one was, or none asks."""
    judged = any(row.correct != "unknown" or row.content is not None for row in summary.cases)
    if "wrong" not in conditions or judged:
        return None
    reasons = dict.fromkeys(row.correct_reason for row in summary.cases if row.correct_reason)
    return f"--fail-on wrong: no image could be judged: {'; '.join(reasons) or 'none was made'}"


def fails_on(summary: RunSummary, conditions: tuple[str, ...]) -> int:
    """1 where a condition of ``--fail-on`` holds."""
    wrong = "wrong" in conditions and any(
        row.correct == "broken" or row.content == "wrong" for row in summary.cases
    )
    skipped = "skipped" in conditions and "skipped" in summary.outcomes
    return 1 if wrong or skipped else 0
