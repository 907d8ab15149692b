"""NVIDIA's driver version, as the kernel module spells it."""

from pathlib import Path

import pytest

from sdbench.worker.devices import cuda

CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
)
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  "
    "(builder@host)  Tue Sep 23 10:11:12 UTC 2025\n"
)
COMPILER = "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"


@pytest.mark.parametrize(
    ("text", "version"), [(CLOSED, "535.129.03"), (OPEN, "580.95.05"), ("", None), ("?\n", None)]
)
def test_driver_version(
    text: str, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "version"
    monkeypatch.setattr(cuda, "_DRIVER_FILE", str(file))
    assert cuda._driver_version() is None, "no such driver"
    file.write_text(text + COMPILER)
    assert cuda._driver_version() == version
