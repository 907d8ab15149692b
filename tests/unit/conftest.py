"""What holds for every unit test: a cache of its own, and no torch."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdbench.models import synthetic
from sdbench.models.catalogue import SYNTHETIC
from sdbench.store.privacy import recorded_environment


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; whatever the user's environment says does not reach the tests."""
    cache = tmp_path / "cache"
    for name in recorded_environment(os.environ):  # all that changes what a run does
        monkeypatch.delenv(name)
    monkeypatch.setenv("SDBENCH_CACHE", str(cache))
    return cache


@pytest.fixture(autouse=True)
def torch_stays_out() -> Iterator[None]:
    """A unit test that imports torch is no unit test."""
    before = "torch._C" in sys.modules
    yield
    assert before or "torch._C" not in sys.modules, "this test imported torch"


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds ``synthetic/tiny``, built once for all tests that only read it."""
    cache = tmp_path_factory.mktemp("tiny-cache")
    synthetic.ensure(SYNTHETIC["synthetic/tiny"], cache)
    return cache
