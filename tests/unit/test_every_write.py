"""Every write once: at each call that changes the disk a run is killed, or the call fails."""

import os
from pathlib import Path

import pytest
from every_write import SCENES, Scene, broken_promises, calls_of, points_of

EVERY = 1 if os.environ.get("SDBENCH_TEST_WRITES") == "all" else 7
SHARES = 8 if EVERY == 1 else 1


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_nothing_is_lost_or_doubled_wherever_a_write_fails(
    scene: Scene, share: int, tmp_path: Path, tiny_cache: Path
) -> None:
    calls = calls_of(scene, tmp_path / "whole", tiny_cache)
    points = points_of(calls)
    broken = {}
    for number, point in enumerate(points[share * EVERY :: SHARES * EVERY]):
        found = broken_promises(scene, point, tmp_path / str(number), tiny_cache)
        if found:
            at = calls[point.at] if point.at < len(calls) else "the end"
            broken[f"{point} ({at})"] = found
    assert not broken, "\n".join(f"{name}: {words}" for name, words in broken.items())
