"""The allocator's two ratios, checked before a worker starts."""

import pytest

from sdbench.knowledge.memory_limits import HIGH, LOW, check_watermarks, removes_memory_limit


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PATH": "/bin"},
        {HIGH: "1.7"},
        {HIGH: "1.4"},
        {HIGH: "2"},
        {HIGH: " 1.5 "},
        {LOW: "1.7"},
        {LOW: "0"},
        {HIGH: "1.0", LOW: "1.0"},
        {HIGH: "0.8", LOW: "0.5"},
        {HIGH: "1e0", LOW: ".9"},
        {HIGH: "0"},  # torch then allows LOW up to 2
        {HIGH: "0.0", LOW: "2.0"},
    ],
)
def test_what_works(environment: dict[str, str]) -> None:
    assert check_watermarks(environment) is None


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {HIGH: "1.0"},
            (
                f"{HIGH}=1 is below the default of {LOW}, 1.4, which torch refuses; set {LOW} to 1 "
                "or less as well"
            ),
        ),
        (
            {LOW: "1.8"},
            f"{LOW}=1.8 is above the default of {HIGH}, 1.7; set it to 1.7 or less",
        ),
        (
            {HIGH: "1.2", LOW: "1.3"},
            f"{LOW}=1.3 is above {HIGH}=1.2, which torch refuses; set it to 1.2 at most",
        ),
        ({HIGH: "2.5", LOW: "1"}, f"{HIGH}=2.5 is outside 0 to 2, which torch refuses"),
        ({LOW: "-0.1"}, f"{LOW}=-0.1 is outside 0 to 2, which torch refuses"),
    ],
)
def test_contradictions_in_one_line(environment: dict[str, str], line: str) -> None:
    assert check_watermarks(environment) == line


@pytest.mark.parametrize("text", ["", "abc", "1.5x", "1,7", "nan", "inf", "0x1", "1.0 2.0"])
@pytest.mark.parametrize("name", [HIGH, LOW])
def test_not_a_number(name: str, text: str) -> None:
    line = check_watermarks({name: text})
    assert line is not None
    assert line.startswith(f"{name}={text!r} is not a plain number")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("environment", "removed"),
    [
        ({}, False),
        ({LOW: "0"}, False),
        ({HIGH: "1.7"}, False),
        ({HIGH: "0.1"}, False),
        ({HIGH: "1.5x"}, False),
        ({HIGH: "0"}, True),
        ({HIGH: "0.0"}, True),
        ({HIGH: "-0"}, True),
        ({HIGH: "1e-400"}, True),
        # strtod reads these as 0, and 0 is "no limit"
        ({HIGH: ""}, True),
        ({HIGH: "none"}, True),
        ({HIGH: "off"}, True),
    ],
)
def test_removes_memory_limit(environment: dict[str, str], removed: bool) -> None:
    assert removes_memory_limit(environment) is removed
