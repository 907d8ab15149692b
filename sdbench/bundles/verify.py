"""``sdbench verify``: is a bundle what sdbench writes, and does it follow from its own records?

From the outside in, and the first reason to refuse ends it: the archive, hashes, schemas, the
records' number and order, images, every figure and verdict computed again, and whether the rest can
be. It cannot prove that a machine measured this: whoever edits the raw records consistently is not
found out (docs/how-to/verify-a-bundle.md).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from sdbench import __version__
from sdbench.analysis.run_summary import is_virtual
from sdbench.bundles.all_records import check_records
from sdbench.bundles.archive import read_archive
from sdbench.bundles.evidence import evidence_of
from sdbench.bundles.format import MOST_BUNDLE_BYTES, SUMMARY
from sdbench.bundles.opened import Opened, opened
from sdbench.bundles.plausible import (
    check_machine,
    check_rates,
    check_simulated,
    check_texts,
    check_versions,
)
from sdbench.bundles.publishable import Publishable, publishable
from sdbench.bundles.refusal import RefusalCode, RefusedError
from sdbench.bundles.same_figures import first_difference
from sdbench.bundles.same_images import check_images
from sdbench.bundles.same_memory import check_memory
from sdbench.bundles.summary import Examined, encoded, examine
from sdbench.bundles.times import check_times
from sdbench.correctness.artifact_files import Artifacts, most_pixels
from sdbench.errors import SdbenchError, UsageError
from sdbench.files.access import open_file
from sdbench.runs.checks import config_of
from sdbench.words import counted, shortened


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a file.

    ``code`` and ``reason`` are None of one that is ok; ``simulated``, ``virtual`` and
    ``publishable`` of one that is refused. ``not_checked`` says what could not be compared with
    anything, which is no reason to refuse.
    """

    path: str
    status: Literal["ok", "refused"]
    code: RefusalCode | None = None
    reason: str | None = None
    simulated: bool | None = None
    virtual: bool | None = None
    publishable: Publishable | None = None
    not_checked: list[str] = []


def verify_file(path: Path) -> Verified:
    """Verify a bundle. Nothing is written or extracted.

    Raises:
        UsageError: there is no such file, or it is no regular one.
    """
    try:
        with open_file(path) as file:
            data = file.read(MOST_BUNDLE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{shortened(str(path), 1000)}: {error.strerror}") from error
    return verify(data, str(path))


def verify(data: bytes, path: str) -> Verified:
    """Verify the bytes of a bundle; ``path`` is what the result calls it."""
    try:
        return accept(data, path).verified
    except RefusedError as error:
        return Verified(path=path, status="refused", code=error.code, reason=error.reason)


@dataclass(frozen=True)
class Accepted:
    """A bundle that is ok, and what this sdbench says of the run in it, computed anew.

    Whoever shows the run takes ``examined`` and not the bundle's own summary.
    """

    verified: Verified
    examined: Examined
    members: Mapping[str, bytes]


def accept(data: bytes, path: str) -> Accepted:
    """Verify the bytes of a bundle and keep what was computed.

    Raises:
        RefusedError: it is not what sdbench writes, or does not follow from its records.
    """
    if len(data) > MOST_BUNDLE_BYTES:
        raise RefusedError("unsafe-archive", f"larger than the {MOST_BUNDLE_BYTES:,} bytes read")
    bundle = opened(read_archive(data))
    try:
        return _accepted(bundle, path)
    except SdbenchError as error:  # what is said of a run needs values that types do not promise
        raise RefusedError("schema", str(error)) from None


def _accepted(bundle: Opened, path: str) -> Accepted:
    loaded = bundle.loaded
    config = config_of(loaded.run)
    made_by = bundle.summary.get("sdbench_version")
    strictly = made_by == __version__
    check_records(bundle, config.fewest_processes)
    check_simulated(bundle)
    check_texts(loaded.run)
    check_machine(loaded.run)
    artifacts = Artifacts(bundle.members, most_pixels(loaded.run.plan))
    of_images = check_images(bundle, artifacts, config, strictly=strictly)
    examined = examine(loaded, artifacts)
    _check_figures(bundle, examined, strictly=strictly)
    check_memory(bundle)
    unconfirmed = check_times(bundle)
    verified = Verified(
        path=path,
        status="ok",
        simulated=examined.summary.simulated,
        virtual=_virtual(bundle),
        publishable=publishable(
            examined,
            bundle.lines_left_out,
            evidence_of(loaded, bundle.members, unconfirmed),
        ),
        not_checked=[
            *_unconfirmed(unconfirmed),
            *check_versions(loaded.run, loaded.attempts),
            *check_rates(bundle),
            *of_images,
            *_not_compared(made_by, strictly=strictly),
        ],
    )
    return Accepted(verified, examined, bundle.members)


def _check_figures(bundle: Opened, examined: Examined, *, strictly: bool) -> None:
    """Everything in ``summary.json`` follows from the records.

    Of another version's only the figures are compared, because sentences and rules change.
    """
    claimed = bundle.summary
    computed = _plain(examined)
    if not strictly:
        claimed, computed = _figures(claimed), _figures(computed)
    difference = first_difference(claimed, computed)
    if difference is not None:
        raise RefusedError("figures-differ", f"{SUMMARY}: {difference}")


def _plain(examined: Examined) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(encoded(examined.document))
    return document


_FIGURES = (
    *("case_id", "arm", "outcome", "latency_s", "first_pass_s", "prime_s", "load_s"),
    *("peak_memory_bytes", "correct", "content", "replicates", "seconds_per_picture"),
)


def _figures(document: dict[str, Any]) -> dict[str, Any]:
    """What every version says of a run in the same way."""
    run = document.get("run")
    cases = run.get("cases") if isinstance(run, dict) else None
    if not isinstance(run, dict) or not isinstance(cases, list):
        raise RefusedError("schema", f"{SUMMARY}: expected run.cases")
    rows = [
        {name: row.get(name) for name in _FIGURES} if isinstance(row, dict) else None
        for row in cases
    ]
    for row in rows:
        latency = None if row is None else row["latency_s"]
        if row is not None and isinstance(latency, dict):
            row["latency_s"] = {name: latency.get(name) for name in ("median", "ci95", "n")}
    names = ("run_id", "device", "simulated", "outcomes", "complete")
    return {"cases": rows} | {name: run.get(name) for name in names}


def _unconfirmed(processes: int) -> Iterator[str]:
    if processes:
        words = counted(processes, "process", "processes")
        yield f"times of {words}: nothing else recorded when passes began"


def _not_compared(made_by: object, *, strictly: bool) -> Iterator[str]:
    if not strictly:
        yield (
            f"findings and sentences: sdbench {shortened(str(made_by))} wrote them, and this is "
            f"{__version__}"
        )


def _virtual(bundle: Opened) -> bool | None:
    """Whether it ran in a virtual machine; None where that is not recorded."""
    run = bundle.loaded.run
    if any(map(is_virtual, bundle.loaded.replicates)):
        return True
    virtual = run.identity("virtual")
    return virtual if isinstance(virtual, bool) else None
