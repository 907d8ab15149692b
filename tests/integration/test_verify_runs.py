"""Bundles of runs that were really made are accepted, and a change to them is not."""

from pathlib import Path

import pytest
from conftest import SharedRun


@pytest.mark.long
def test_the_bundle_of_a_real_run_is_accepted(matrix_run: SharedRun, tmp_path: Path) -> None:
    """The shared run serves: it has images, references, timelines and several processes."""
    bundle = tmp_path / "real.sdbench.zip"
    run = matrix_run.document["path"]
    code, _ = matrix_run.sdbench.json("bundle", run, "--yes", "-o", str(bundle))
    assert code == 0
    code, document = matrix_run.sdbench.json("verify", str(bundle))
    (entry,) = document["files"]
    assert (code, entry["status"], entry["reason"]) == (0, "ok", None)
    assert entry["simulated"] is False
    assert not [words for words in entry["not_checked"] if words.startswith("times")]

    changed = tmp_path / "changed.sdbench.zip"
    changed.write_bytes(bundle.read_bytes().replace(b"PK\x03\x04", b"PK\x03\x05", 1))
    code, document = matrix_run.sdbench.json("verify", str(changed))
    assert (code, document["files"][0]["code"]) == (1, "unsafe-archive")
