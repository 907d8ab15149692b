"""Bundles of real machines that do not exist: a run in git, recorded as one that may be published.

All runs in git were made in virtual machines and before there was a selftest.
"""

import functools
from collections.abc import Callable

import msgspec
from forged_bundles import RESULTS, Document, Members, edited, good_members, repaired
from test_publishable import selftest

from sdbench.bundles.format import RUN_MEMBER

FLOAT32 = RESULTS / "20261122-155927-float32-892f"


@functools.cache
def _members() -> Members:
    return good_members(FLOAT32)


def real_bundle(
    machine_id: str = f"m-{'1' * 16}",
    run_id: str = "20261122-155927-float32-892f",
    change: Callable[[Document], object] = lambda run: None,
) -> bytes:
    """A bundle that ``sdbench verify`` accepts and calls publishable.

    ``change`` is made in its ``run.json``.
    """

    def as_real(run: Document) -> None:
        run["machine_facts"]["identity"]["virtual"] = False
        run["machine_id"] = machine_id
        run["selftest"] = msgspec.to_builtins(selftest(device=run["device"]))
        change(run)

    members = edited(_members(), RUN_MEMBER, as_real)
    if run_id != FLOAT32.name:
        # Records name their run.
        members = {
            name: data.replace(FLOAT32.name.encode(), run_id.encode())
            for name, data in members.items()
        }
    return repaired(members)


def virtual_bundle() -> bytes:
    """A bundle that is verified and not publishable."""
    return repaired(dict(_members()))
