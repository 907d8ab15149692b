"""Bundles of real machines that do not exist: a run in git, recorded as one that may be published.

All runs in git were made in virtual machines and before there was a selftest.
"""

import functools
from collections.abc import Callable

import msgspec
from forged_bundles import (
    RESULTS,
    Document,
    Members,
    edited,
    edited_records,
    good_members,
    image_instead,
    repaired,
)
from test_publishable import selftest

from sdbench.bundles.format import RECORDS_MEMBER, RUN_MEMBER
from sdbench.correctness.artifact_files import pixels_digest
from sdbench.correctness.measures import to_pixels
from sdbench.correctness.references import PACKAGED, ReferenceSettings, find_reference
from sdbench.plan.config import work_of
from sdbench.runs import run_of_bytes
from sdbench.runs.checks import config_of

FLOAT32 = RESULTS / "20261122-155927-float32-892f"


@functools.cache
def _members() -> Members:
    """With the CPU's image in the place of one whose file is not in git."""
    members = good_members(FLOAT32)
    loaded = run_of_bytes(members[RUN_MEMBER], members[RECORDS_MEMBER], FLOAT32)
    run, compared = loaded.run, loaded.compared[0]
    case, image = run.plan.planned(compared.case_id).case, compared.images[0]
    config = config_of(run)
    settings = ReferenceSettings(
        model_sha256=run.model.sha256 or "",
        resolution=case.resolution,
        prompt=config.prompts[0],
        seed=config.seed + image.image,
        **work_of(config, case)._asdict(),
    )
    reference = find_reference(settings, {}, PACKAGED)
    assert reference is not None
    pixels = to_pixels(reference.picture)
    digest = pixels_digest(pixels)

    def as_equal(record: Document) -> None:
        for one in record.get("images", []):
            if one["pixels_sha256"] == digest:
                one["picture"]["rel_l2"], one["psnr_db"], one["ssim"] = 0.0, None, 1.0

    return edited_records(image_instead(members, image.pixels_sha256, pixels), as_equal)


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
