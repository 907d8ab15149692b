"""Findings are named for people, and their commands are whole: pasted as they are, they go on with
this run and this case."""

import io
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
from diagnosed_runs import case, diagnosis, loaded_run, only
from factories import Called, make_pass, make_picture
from measured_runs import changed, kept, one_case, two_arms
from msgspec.structs import replace
from rich.console import Console

from sdbench.cli import VERBS, cli
from sdbench.diagnosis.result import FINDING_TITLES, Finding
from sdbench.knowledge.known_issues import FindingCode
from sdbench.records import Case
from sdbench.report.terminal.diagnosis import render_diagnosis
from sdbench.report.view.finding_words import remedy_parts

BATCH = case(batching="batch")
SLICED = case(attention_slicing=True)
NAN = [make_pass(1.0, index, images=[make_picture(nan_count=3)]) for index in (1, 2, 3)]


def options_of(command: str) -> dict[str, Any]:
    """What click makes of a command, which fails if it is not one of ours."""
    words = shlex.split(command)
    assert words[0] == "sdbench" and words[1] in VERBS, command
    # A command keeps its help option: without the program above it, it would lose -h for good.
    program = cli.make_context("sdbench", [words[1]], resilient_parsing=True)
    verb = cli.get_command(program, words[1])
    assert verb is not None
    return verb.make_context(words[1], words[2:], parent=program).params


def nan_in(of: Case, **more: Any) -> Finding:
    found = diagnosis(loaded_run(only(of, passes=NAN), **more)).findings
    return next(entry for entry in found if entry.code == "nan-output")


def test_every_code_has_a_name_for_people() -> None:
    assert set(FINDING_TITLES) == set(get_args(FindingCode))
    assert len(set(FINDING_TITLES.values())) == len(FINDING_TITLES)
    assert all(title[0].isupper() and "-" not in title for title in FINDING_TITLES.values())


def test_localise_is_given_the_options_of_the_case() -> None:
    localise, repro = nan_in(SLICED).commands
    options = options_of(localise)
    assert (options["resolution"], options["dtype"], options["slicing"]) == (
        *("64x64", "float32", True),
    )
    assert (options["device"], options["batch"]) == ("mps", 1)
    of_repro = options_of(repro)
    assert (of_repro["run"], of_repro["case"], of_repro["arm"]) == (
        *("results/x", "64x64 sliced", None),
    )


def test_a_batch_is_searched_as_a_batch() -> None:
    assert options_of(nan_in(BATCH).commands[0])["batch"] == 2


def test_of_several_arms_the_command_names_the_one_with_the_fault() -> None:
    arms = two_arms(3)
    loaded = loaded_run(lambda slot, of: {"passes": NAN} if slot.arm == "new" else {}, config=arms)
    (found,) = [one for one in diagnosis(loaded).findings if one.code == "nan-output"]
    assert options_of(found.commands[-1])["arm"] == "new"


def test_no_search_is_proposed_that_would_look_at_something_else() -> None:
    """localise has no option for the attention, and the CPU is what it compares with."""
    matrix = {"resolution": ["64x64"], "attention": ["math"]}
    other = nan_in(case(attention="math"), config=one_case(3, matrix=matrix))
    assert [shlex.split(command)[1] for command in other.commands] == ["repro"]
    on_cpu = nan_in(SLICED, device="cpu")
    assert [shlex.split(command)[1] for command in on_cpu.commands] == ["repro"]


def test_a_name_of_others_is_one_word_of_the_command() -> None:
    loaded = loaded_run(only(SLICED, passes=NAN))
    evil = replace(loaded.run.model, name="x; rm -rf ~ $(id) 'y'")
    (found,) = [
        one for one in diagnosis(changed(loaded, model=evil)).findings if one.code == "nan-output"
    ]
    assert options_of(found.commands[0])["model"] == "x; rm -rf ~ $(id) 'y'"


def test_every_command_stands_in_the_remedy_and_alone_on_a_line() -> None:
    found = nan_in(SLICED)
    parts = [*remedy_parts(found)]
    assert [command for _, command in parts if command] == found.commands
    assert all(command in found.remedy for command in found.commands)
    assert all("sdbench" not in words for words, _ in parts)
    out = io.StringIO()
    console = Console(file=out, width=60, force_terminal=True, color_system=None)
    render_diagnosis(diagnosis(loaded_run(only(SLICED, passes=NAN))), console)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert set(found.commands) <= set(lines)


def test_a_remedy_without_commands_is_as_it_was() -> None:
    found = nan_in(SLICED)
    plain = replace(found, remedy="Use float32; then measure.", commands=[])
    assert [*remedy_parts(plain)] == [("Use float32; then measure.", None)]


def test_the_code_of_a_finding_is_in_small_print(call: Called, tmp_path: Path) -> None:
    path = kept(tmp_path, loaded_run(only(SLICED, passes=NAN)))
    for verb in ("diagnose", "show"):
        _, out, _ = call(verb, path)
        line = next(line for line in out.splitlines() if "(nan-output)" in line)
        assert line.split()[:2] == ["error", "Images"], line
        assert line.rstrip().endswith("(nan-output)")
        assert "RUN CASE" not in out


def test_show_ends_with_commands_about_a_case_with_a_fault(call: Called, tmp_path: Path) -> None:
    path = kept(tmp_path, loaded_run(only(SLICED, passes=NAN)))
    _, out, _ = call("show", path)
    commands = [line[line.index("sdbench") :] for line in out.splitlines()[-3:]]
    assert options_of(commands[0])["case"] == "64x64 sliced"
    assert [shlex.split(command)[1] for command in commands] == ["show", "diagnose", "report"]
    for command in commands:
        options_of(command)


@pytest.mark.parametrize("healthy", [True, False])
def test_the_headline_names_what_is_wrong(healthy: bool) -> None:
    change = (lambda slot, of: {}) if healthy else only(SLICED, passes=NAN)
    headline = diagnosis(loaded_run(change)).headline
    assert ("images hold NaN or infinity (64x64 sliced)" in headline) is not healthy
