"""What a shell completes, and what is suggested for a mistyped word."""

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from factories import Called, make_run

from sdbench.cli import cli
from sdbench.plan.read_config import shipped_configs
from sdbench.records import AXES
from sdbench.runs import RunFolder
from sdbench.runs.baselines import save_baseline
from sdbench.words import close_to, did_you_mean


@pytest.fixture
def kept(results: Path) -> Path:
    folder = RunFolder.create(results, make_run())
    folder.close()
    save_baseline(results, "main", folder.path)
    return folder.path


def completed(*words: str, incomplete: str = "") -> list[str]:
    shell = ShellComplete(cli, {}, "sdbench", "_SDBENCH_COMPLETE")
    return [item.value for item in shell.get_completions([*words], incomplete)]


@pytest.mark.parametrize("verb", ["show", "diagnose", "resume", "repro", "compare", "report"])
def test_runs_are_completed_from_the_results_folder(verb: str, kept: Path) -> None:
    where = ("--results", str(kept.parent))
    assert completed(verb, *where) == ["latest", kept.name]
    assert completed(verb, *where, incomplete="2026") == [kept.name]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("compare", "latest", "--with"), "dir"),
        (("run", "--with"), "dir"),
        (("doctor", "--with"), "dir"),
        (("submit", "--to"), "dir"),
        (("submit",), "file"),
        (("board", "init"), "dir"),
    ],
)
def test_paths_are_left_to_the_shell(words: tuple[str, ...], kind: str) -> None:
    shell = ShellComplete(cli, {}, "sdbench", "_SDBENCH_COMPLETE")
    (item,) = shell.get_completions([*words], "a")
    assert (item.value, item.type) == ("a", kind)


def test_run_that_is_named_is_not_offered_again(kept: Path) -> None:
    where = ("--results", str(kept.parent))
    assert completed("compare", *where, "latest") == [kept.name]


@pytest.mark.parametrize("verb", ["show", "repro"])
def test_cases_are_those_of_the_run(verb: str, kept: Path) -> None:
    found = completed(verb, "--results", str(kept.parent), "latest")
    assert found == [planned.case_id for planned in make_run().plan.cases]


def test_cases_of_no_run_are_none(tmp_path: Path) -> None:
    assert completed("show", "--results", str(tmp_path), "nothing") == []


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        (("run",), "", [*shipped_configs()]),
        (("run",), "torch", ["torch-1-vs-2"]),
        (("run", "--stack"), "torch-1", ["torch-1.13"]),
        (("localise", "--stack"), "cur", ["current"]),
        (("localise", "--across"), "cur", ["current"]),
        (("localize", "--across"), "torch-2.5,torch-2", ["torch-2.5,torch-2.13"]),
        (("stacks", "create", "torch-1.13"), "torch-", ["torch-2.5", "torch-2.13"]),
        (("compare", "--by"), "", ["arm", "stack", "machine", *AXES]),
        (("compare", "--by"), "vae_t", ["vae_tiling"]),
        (("run", "--only"), "batch", ["batching="]),
        (("issues", "--id"), "baddbmm-nan-c", ["baddbmm-nan-cpu"]),
        (("run", "--set"), "rep", ["replicates="]),
    ],
)
def test_names_that_sdbench_knows_are_completed(
    words: tuple[str, ...], incomplete: str, expected: list[str]
) -> None:
    assert completed(*words, incomplete=incomplete) == expected


def test_baselines_are_completed(kept: Path) -> None:
    where = ("--results", str(kept.parent))
    assert completed("compare", *where, "--baseline", incomplete="m") == ["main"]


def test_unknown_name_is_left_to_files(tmp_path: Path) -> None:
    shell = ShellComplete(cli, {}, "sdbench", "_SDBENCH_COMPLETE")
    (item,) = shell.get_completions(["run"], "my/own")
    assert item.type == "file"


def test_help_says_how_completion_is_switched_on(call: Called) -> None:
    _, out, _ = call("--help")
    assert 'eval "$(_SDBENCH_COMPLETE=zsh_source sdbench)"' in out


def test_help_of_run_names_every_shipped_configuration(call: Called) -> None:
    _, out, _ = call("run", "--help")
    words = " ".join(out.split())
    assert f"({', '.join(shipped_configs())})" in words


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("cmopare", "a"), "sdbench compare a"),
        (("run", "quik"), "'quick'"),
        (("run", "quick", "--set", "stesp=3"), "'steps'"),
        (("run", "quick", "--only", "resolutoin=64x64", "--dry-run"), "'resolution'"),
        (("run", "quick", "--stack", "curent"), "'current'"),
        (("run", "quick", "--model", "synthetic/tinny"), "'synthetic/tiny'"),
        (("stacks", "create", "torch-1.31"), "'torch-1.13'"),
        (("models", "make", "synthetic/sdl"), "'synthetic/sdxl'"),
    ],
)
def test_what_was_probably_meant_is_named(
    arguments: tuple[str, ...], meant: str, call: Called
) -> None:
    code, _, err = call(*arguments)
    assert code == 2 and err.count("\n") == 1
    assert f"did you mean: {meant}" in err or f"did you mean {meant}? " in err


def test_run_case_and_axis_that_were_probably_meant_are_named(kept: Path, call: Called) -> None:
    where = ("-o", kept.parent)
    _, _, err = call("show", kept.name.replace("test", "tset"), *where)
    assert f"did you mean {kept.name!r}? see sdbench list --results {kept.parent}" in err
    _, _, err = call("show", "latest", "128x128 slicd", *where)
    assert "did you mean '128x128" in err or "did you mean '64x64" in err
    _, _, err = call("compare", "latest", "--by", "vae_tilling", *where)
    assert "did you mean 'vae_tiling'? " in err


def test_nothing_is_suggested_for_what_is_like_nothing() -> None:
    assert did_you_mean("zzz", ["run", "show"]) == ""
    assert close_to("x" * 10_000, ["x" * 9_999]) == []
    assert close_to("Torch-2.31", ["torch-2.13", "torch-2.5"])[0] == "torch-2.13"
