"""``sdbench selftest`` passes only where all that every run reports was looked at."""

import msgspec
import pytest
from test_publishable import VOUCHING, line_of, selftest

from sdbench.cli.selftest import document, exit_code, verdict
from sdbench.records import Selftest
from sdbench.runs.voided import not_vouched_for


def without(name: str) -> Selftest:
    return selftest(lines=[line_of(one) for one in VOUCHING if one != name])


def test_a_selftest_that_looked_at_everything_passes() -> None:
    found = selftest(lines=[*selftest().lines, line_of("sleep-held", "unknown")])
    assert (document(found)["status"], exit_code(found)) == ("pass", 0)
    assert verdict(found) == "6 lines passed; 1 line unknown"


@pytest.mark.parametrize(
    "name", ["clock-a", "sync-a", "memory-host-footprint", "picture-a", "load-a"]
)
def test_what_was_not_looked_at_is_unknown_and_exits_1(name: str) -> None:
    for found in (
        selftest(lines=[line_of(one, "unknown" if one == name else "pass") for one in VOUCHING]),
        without(name),
    ):
        assert (document(found)["status"], exit_code(found)) == ("unknown", 1)
        assert not_vouched_for(found) and "Not vouched for: " in verdict(found)


def test_a_device_with_an_allocator_of_its_own_needs_a_line_about_it() -> None:
    assert not_vouched_for(selftest(device="mps")) == []
    lacking = without("memory-device-allocator")
    assert not_vouched_for(lacking) == []
    on_mps = msgspec.structs.replace(lacking, device="mps")
    assert not_vouched_for(on_mps) == ["memory of the device (no line about it)"]


def test_one_more_source_may_be_missing() -> None:
    lines = [*selftest().lines, line_of("memory-host-footprint-source", "unknown")]
    assert exit_code(selftest(lines=lines)) == 0
