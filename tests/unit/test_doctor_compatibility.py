"""The tables of versions: their edges, and that they agree with what was read in the wheels."""

import json
from pathlib import Path

import pytest

from sdbench.knowledge.compatibility import (
    RULES,
    development,
    made_for_both,
    newest_torch_for,
    proven_set,
    stack_with,
    torch_for_python,
    torch_needs,
    torchvision_for,
    within,
)
from sdbench.knowledge.version_ranges import release

MPS_API = Path(__file__).parents[1] / "data" / "mps_api.json"


WHEELS = json.loads(MPS_API.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("torch", "selector"), WHEELS["device_asks"].items())
def test_macos_that_a_torch_needs_is_what_its_wheel_asks_for(torch: str, selector: str) -> None:
    needs = torch_needs(torch)
    assert needs is not None and needs.macos == WHEELS["selectors"][selector]


@pytest.mark.parametrize(("torch", "macos"), WHEELS["min_macos"].items())
def test_macos_that_a_torch_needs_is_no_less_than_its_wheel_says(torch: str, macos: str) -> None:
    """2.5's message still names 12.3, where it finds no device; the others say what they need."""
    needs = torch_needs(torch)
    assert needs is not None
    assert needs.macos == ("13.0" if torch == "2.5.1" else macos)


def test_every_release_in_the_table_has_its_row() -> None:
    """A release that was added to the wheels' table and not to doctor's would be judged by 2.15."""
    oldest = {torch_needs(torch) for torch in WHEELS["api"]}
    assert len(oldest) == 7 and None not in oldest


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        *((text, None) for text in ("2.6.0", "2.13.0+cpu", "2.5.1+cu124", "2.4.0+rocm6.1")),
        *((text, None) for text in ("2.6.0+xpu", "2.1.2+cpu.cxx11.abi", "", "new", None)),
        ("2.10.0.dev20250917", "a nightly build"),
        ("2.14.0.dev20260901+cpu", "a nightly build"),
        ("0.36.0.dev0", "a development version"),
        ("2.6.0a0+gitabc1234", "a build from source"),
        ("2.4.0a0+07cecf4168.nv24.5", "a build from source"),
        ("2.3.0+git97ff6cf", "a build from source"),
        ("2.9.0rc3", "a pre-release"),
        ("5.0.0rc1", "a pre-release"),
        ("2.3.0+computecanada", "a third-party build"),
    ],
)
def test_what_is_no_release_is_called_what_it_is(version: str | None, kind: str | None) -> None:
    assert development(version) == kind


@pytest.mark.parametrize("torch", ["2.10.0.dev20250917", "2.6.0a0+gitabc", "2.9.0.dev0"])
def test_build_between_two_releases_is_in_no_table(torch: str) -> None:
    assert torch_needs(torch) is None and torchvision_for(torch) is None


@pytest.mark.parametrize(
    ("torch", "torchvision"),
    [
        *(("1.13.1", "0.14"), ("2.0.1", "0.15"), ("2.2.2", "0.17"), ("2.5.1+cpu", "0.20")),
        *(("2.9.1", "0.24"), ("2.13.0", "0.28"), ("1.12.1", None), ("3.0", None), (None, None)),
    ],
)
def test_torchvision_that_is_made_for_a_torch(torch: str | None, torchvision: str | None) -> None:
    assert torchvision_for(torch) == torchvision


@pytest.mark.parametrize("torch", ["1.12.1", "0.4", "new", "", None])
def test_no_needs_of_what_has_no_mps(torch: str | None) -> None:
    assert torch_needs(torch) is None


@pytest.mark.parametrize(
    ("macos", "asked"),
    [
        ("11.6.8", "torch<2.5"),
        ("12.6", "torch<2.5"),
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
