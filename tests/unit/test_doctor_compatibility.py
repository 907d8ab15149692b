"""The tables of versions: their edges, and that they agree with what was read in the wheels."""

import json
from pathlib import Path

import pytest

from sdbench.doctor.compatibility import (
    RULES,
    made_for_both,
    newest_torch_for,
    proven_set,
    release,
    stack_with,
    torch_for_python,
    torch_needs,
    within,
)

MPS_API = Path(__file__).parents[1] / "data" / "mps_api.json"


@pytest.mark.parametrize(
    ("torch", "macos"), json.loads(MPS_API.read_text(encoding="utf-8"))["min_macos"].items()
)
def test_macos_that_a_torch_needs_is_what_its_wheel_says(torch: str, macos: str) -> None:
    needs = torch_needs(torch)
    assert needs is not None and needs.macos == macos


@pytest.mark.parametrize("torch", ["1.12.1", "0.4", "new", "", None])
def test_no_needs_of_what_has_no_mps(torch: str | None) -> None:
    assert torch_needs(torch) is None


@pytest.mark.parametrize(
    ("macos", "asked"),
    [
        ("11.6.8", "torch<2.6"),
        ("12.6", "torch<2.6"),
        ("13.0", "torch<2.9"),
        ("14.7.6", "torch<2.15"),
        ("15.0", "torch"),
        ("26.1", "torch"),
        ("unheard of", "torch"),
    ],
)
def test_newest_torch_for_a_macos(macos: str, asked: str) -> None:
    assert newest_torch_for(macos) == asked


@pytest.mark.parametrize(
    ("python", "torch"),
    [
        ("3.7.9", None),
        ("3.8.18", ">=1.13,<2.5"),
        ("3.9.6", ">=1.13,<2.9"),
        ("3.10.4", ">=1.13,<2.15"),
        ("3.11.9", ">=2.0"),
        ("3.12.1", ">=2.2"),
        ("3.13.0", ">=2.6"),
        ("3.14.0rc1", ">=2.9"),
        ("3.15.0", ">=2.15"),
        ("pypy", None),
    ],
)
def test_torch_for_a_python(python: str, torch: str | None) -> None:
    assert torch_for_python(python) == torch


@pytest.mark.parametrize(
    ("torch", "python", "fits"),
    [
        ("torch", "3.14.0", True),
        ("torch<2.9", "3.13.2", True),
        ("torch<2.9", "3.14.0", False),
        ("torch<2.6", "3.13.2", False),
        ("torch<2.3", "3.12.1", True),
        ("torch", "3.7.9", False),
    ],
)
def test_python_that_can_hold_what_is_allowed(torch: str, python: str, fits: bool) -> None:
    assert made_for_both(torch, python) is fits


def test_whole_set_is_named_where_the_newest_diffusers_wants_a_newer_torch() -> None:
    assert stack_with("torch<2.9") == ["torch<2.9", "diffusers", "transformers", "accelerate"]
    old = stack_with("torch<2.6")
    assert old[:2] == ["torch<2.6", "diffusers==0.31.0"] and "numpy==1.26.4" in old
    assert stack_with("torch<2.3")[1:] == old[1:]


def test_versions_are_compared_by_release() -> None:
    assert str(release("2.13.0+cpu")) == "2.13.0"
    assert within("2.14.0.dev20260901", ">=2.14") is True
    assert within("2.2.2", ">=2.3") is False
    assert within("newest", ">=1") is None
    assert within(None, ">=1") is None


@pytest.mark.parametrize(
    ("torch", "python", "diffusers"),
    [
        ("1.13.1", "3.10.4", "0.31.0"),
        ("2.5.1", "3.12.0", "0.31.0"),
        ("2.13.0", "3.11.4", "0.42.1"),
        ("2.13.0", "3.10.4", "0.31.0"),  # diffusers 0.42 needs Python 3.11
        (None, None, "0.31.0"),
    ],
)
def test_tested_set_fits(torch: str | None, python: str | None, diffusers: str) -> None:
    pins = proven_set(torch, python)
    assert pins["diffusers"] == diffusers
    versions = {**pins, "torch": torch}
    for rule in RULES:
        if within(versions.get(rule.package), rule.version):
            assert within(versions.get(rule.other), rule.needs) is not False, rule
