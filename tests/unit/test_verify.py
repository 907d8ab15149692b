"""``sdbench verify``: forged bundles are refused with their reason, good ones are accepted."""

import json
import shutil
import subprocess
from pathlib import Path

import forged_bundles
import pytest
from factories import Called
from forged_bundles import FORGERIES, RESULTS, Forgery, Members, good_members, hashed, repaired

from sdbench.bundles.format import RUN_MEMBER
from sdbench.bundles.verify import Verified, verify
from sdbench.bundles.write import sealed
from sdbench.privacy.redact_shared import Kept

QUICK = RESULTS / "20261122-155156-quick-587b"
RUNS = sorted(path.parent for path in RESULTS.glob("*/run.json"))
ALL_KEPT = Kept(prompts=True, pictures=True, model_name=True)


def verdict(data: bytes) -> Verified:
    return verify(data, "given.sdbench.zip")


@pytest.fixture(scope="session")
def quick() -> Members:
    """A bundle with images and timelines; tests that change it make a copy."""
    return good_members(QUICK)


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.what)
def test_forged_bundles_are_refused(quick: Members, forgery: Forgery) -> None:
    found = verdict(forgery.forge(dict(quick)))
    assert (found.status, found.code) == ("refused", forgery.code), found
    assert found.reason
    assert found.publishable is None
