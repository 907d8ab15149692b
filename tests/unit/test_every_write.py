"""Every write once: at each call that changes the disk a run is killed, or the call fails."""

import os
from pathlib import Path

import pytest
from every_write import SCENES, Scene, broken_promises, calls_of, desk, points_of

EVERY = 1 if os.environ.get("SDBENCH_TEST_WRITES") == "all" else 7
SHARES = 8 if EVERY == 1 else 1


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_nothing_is_lost_or_doubled_wherever_a_write_fails(
    scene: Scene, share: int, tmp_path: Path, tiny_cache: Path
) -> None:
    broken = {}
    with desk(tmp_path / "desk", tiny_cache) as at:
        start = scene.prepare(at)
        calls = [*calls_of(scene, at, start), "the end"]
        for point in points_of(calls)[share * EVERY :: SHARES * EVERY]:
            found = broken_promises(scene, point, at, start)
            if found:
                broken[f"{point} ({calls[point.at]})"] = found
    assert not broken, "\n".join(f"{name}: {words}" for name, words in broken.items())
