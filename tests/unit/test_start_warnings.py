"""What is said before a run about the machine's state, and how the estimate follows the load."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import make_facts, make_stack
from rich.console import Console
from test_privacy import prepared_with

from sdbench.cli.run import _ask
from sdbench.errors import UsageError
from sdbench.machine.facts import Unavailable
from sdbench.machine.load import load_words, slowdown
from sdbench.report.terminal.plan_page import introduce
from sdbench.runner.prepare import Prepared
from sdbench.runner.start_warnings import start_warnings


def warnings(*, on_cpu: bool = True, **facts: Any) -> list[str]:
    found = start_warnings(make_facts(**facts), on_cpu=on_cpu, min_free_disk_bytes=10e9)
    return [*found]


@pytest.mark.parametrize(
    ("load", "on_cpu", "factor"),
    [
        (5.0, True, 3.5),  # 5 others and our 2 threads share 2 cores
        (1.0, True, 1.0),  # half of the cores: as doctor's limit
        (2.0, False, 1.0),  # a GPU's run needs one core only
        (5.0, False, 3.0),
    ],
)
def test_estimate_follows_the_load(load: float, on_cpu: bool, factor: float) -> None:
    facts = make_facts(load_1min=load)
    assert slowdown(facts, on_cpu=on_cpu) == factor
    assert (load_words(facts, on_cpu=on_cpu) is None) == (factor == 1.0)


def test_load_that_is_not_known_is_no_warning() -> None:
    facts = make_facts(load_1min=Unavailable("not told"))
    assert slowdown(facts, on_cpu=True) == 1.0
    assert load_words(facts, on_cpu=True) is None


def test_machine_as_it_should_be_is_not_warned_of() -> None:
    assert warnings() == []


def test_each_fault_of_the_machine_is_one_sentence_the_load_first() -> None:
    found = warnings(
        load_1min=5.0,
        thermal="heavy",
        pressure="warn",
        source="battery",
        battery_percent=10,
        low_power_mode=True,
        background=True,
        free_disk_bytes=1_000_000_000,
    )
    assert found[0].startswith("load average 5.0 on 2 cores: ")
    assert [words.partition(":")[0] for words in found[1:]] == [
        "the machine is hot, so it may lower its clocks",
        "memory is under pressure",
        "the battery is below 20%",
        "low-power mode lowers the clocks",
        "this terminal has background priority",
        "only 1.0 GB of disk are free",
    ]


def under(load: float) -> Prepared:
    prepared = prepared_with(Path("/models/x"), Path("/usr/bin/python3"))
    estimate = replace(prepared.estimate, duration_s=87.0)
    facts = make_facts(load_1min=load)
    return replace(
        prepared,
        facts=facts,
        stacks={"current": make_stack(torch="2.0", diffusers="0.30")},
        estimate=estimate,
        at_most=estimate,
    )


def introduced(prepared: Prepared) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        introduce(prepared, console)
    return captured.get()


def test_start_of_a_run_warns_and_gives_both_estimates() -> None:
    text = introduced(under(5.0))
    assert "warning: load average 5.0 on 2 cores" in text
    assert "about 5 min under the load of this moment (87 s without it)" in text
    text = introduced(under(0.5))
    assert "warning:" not in text and "takes" in text and "under the load" not in text


def test_person_on_a_terminal_is_asked_and_a_script_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def confirm(text: str, **_: Any) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr("click.confirm", confirm)
    monkeypatch.setattr("sys.stdin", type("Pipe", (), {"isatty": lambda self: False})())
    _ask(under(5.0))
    assert asked == []
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    with pytest.raises(UsageError, match="not started"):
        _ask(under(5.0))
    assert asked == ["Note: times will mean little under this load. Continue?"]
    _ask(under(0.5))
    assert len(asked) == 1
