"""What a worker weighs, as it reads it of itself."""

import sys

import psutil
import pytest

from sdbench.worker.own_memory import own_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_own_pages_are_part_of_the_share_and_that_of_all_that_is_resident() -> None:
    before = own_memory()
    held = bytearray(b"x") * 20_000_000
    found = own_memory()
    assert set(found) == {"pss_bytes", "uss_bytes"}
    assert 0 < found["uss_bytes"] <= found["pss_bytes"] <= psutil.Process().memory_info().rss
    assert found["uss_bytes"] - before["uss_bytes"] > len(held) / 2


def test_where_the_kernel_does_not_tell_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr("builtins.open", refuse)
    assert own_memory() == {}
