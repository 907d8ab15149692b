"""``localise --across``: which environments are searched, and what is said of each operator."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from factories import Called, make_call, make_judged, make_stack

from sdbench.errors import MachineError
from sdbench.localise.across import (
    Environment,
    Searched,
    oldest_first,
    operator_sentence,
    operators_of,
    search_across,
)
from sdbench.localise.localisation import Localisation
from sdbench.records import Case

OPS = ("aten::baddbmm", "aten::mul.Tensor")
ADDED = "aten::softmax.int"


def found(
    wrong: Iterable[str] = (), ops: Iterable[str] = OPS, *, complete: bool = True
) -> Localisation:
    """A search that compared these operators."""
    judged = [
        make_judged(make_call(index, op), 1e6 if op in wrong else 1.0)
        for index, op in enumerate(ops)
    ]
    return Localisation(
        model="synthetic/tiny",
        device="mps",
        simulated=False,
        dtype="float32",
        case=Case(resolution="64x64"),
        images=1,
        steps=1,
        judged=judged,
        skipped={},
        notes=[],
        complete=complete,
        proof=None,
        duration_s=1.0,
    )


def environments(*releases: str) -> list[Environment]:
    return [Environment(f"venv-{release}", release) for release in releases]


def searched(
    results: Mapping[str, Localisation | Exception],
) -> tuple[list[Searched], list[str]]:
    """The outcome, and the releases in the order in which they were searched."""
    order: list[str] = []

    def look(environment: Environment) -> Localisation:
        order.append(environment.torch)
        result = results[environment.torch]
        if isinstance(result, Exception):
            raise result
        return result

    return search_across(environments(*results), look), order


WRONG, RIGHT = found(["aten::baddbmm"]), found()


def sentence(results: Mapping[str, Localisation | Exception]) -> str:
    outcome, _ = searched(results)
    return operator_sentence("aten::baddbmm", outcome)


def test_environments_go_by_release_and_not_by_text() -> None:
    found_ = oldest_first(environments("2.13.0", "unknown", "2.5.1", "1.13.1", "2.8.0+cpu"))
    assert [one.torch for one in found_] == ["1.13.1", "2.5.1", "2.8.0+cpu", "2.13.0", "unknown"]


def test_up_to_three_are_all_searched() -> None:
    outcome, order = searched({"2.13.0": RIGHT, "2.5.1": WRONG, "2.8.0": WRONG})
    assert sorted(order) == ["2.13.0", "2.5.1", "2.8.0"]
    assert operator_sentence("aten::baddbmm", outcome) == (
        "baddbmm: wrong on 2.5.1, 2.8.0; right from 2.13.0"
    )
    assert operators_of(outcome) == ["aten::baddbmm"]


def test_more_are_bisected_and_what_was_not_tried_is_said() -> None:
    releases = [f"2.{minor}.0" for minor in range(10)]
    results = {release: WRONG if index < 7 else RIGHT for index, release in enumerate(releases)}
    outcome, order = searched(results)
    assert len(order) == 5 and {"2.0.0", "2.9.0", "2.6.0", "2.7.0"} <= {*order}
    assert operator_sentence("aten::baddbmm", outcome) == (
        "baddbmm: wrong on 2.0.0, 2.4.0, 2.6.0; right from 2.7.0; "
        "not tried: 2.1.0, 2.2.0, 2.3.0, 2.5.0, 2.8.0"
    )


def test_two_operators_that_change_at_different_releases_are_both_found() -> None:
    releases = [f"2.{minor}.0" for minor in range(8)]
    results = {
        release: found(
            [
                *(["aten::baddbmm"] if index < 2 else []),
                *(["aten::mul.Tensor"] if index < 6 else []),
            ]
        )
        for index, release in enumerate(releases)
    }
    outcome, _ = searched(results)
    assert "right from 2.2.0" in operator_sentence("aten::baddbmm", outcome)
    assert "right from 2.6.0" in operator_sentence("aten::mul.Tensor", outcome)


@pytest.mark.parametrize("both", [RIGHT, WRONG])
def test_ends_that_agree_leave_nothing_out(both: Localisation) -> None:
    """Else a fault in the middle would pass for a right operator."""
    middle = found(["aten::mul.Tensor"])
    results = {"2.0": both, "2.1": both, "2.2": middle, "2.3": both, "2.4": both}
    outcome, order = searched(results)
    assert sorted(order) == sorted(results)
    assert operator_sentence("aten::mul.Tensor", outcome) == (
        "mul.Tensor: right on 2.0, 2.1; wrong on 2.2; right from 2.3"
    )


def test_operator_that_is_not_called_there_is_unknown_and_not_right() -> None:
    assert sentence({"2.5": WRONG, "2.13": found(ops=[ADDED])}) == (
        "baddbmm: wrong on 2.5; unknown on 2.13"
    )


def test_operator_of_a_search_that_was_cut_short_is_unknown() -> None:
    assert sentence({"2.5": WRONG, "2.13": found(complete=False)}) == (
        "baddbmm: wrong on 2.5; unknown on 2.13"
    )


def test_environment_that_fails_is_unknown_and_the_others_go_on() -> None:
    results: dict[str, Localisation | Exception]
    results = {"2.5": WRONG, "2.8": MachineError("died"), "2.13": RIGHT}
    outcome, _ = searched(results)
    assert [one.reason for one in outcome] == [None, "died", None]
    assert sentence(results) == "baddbmm: wrong on 2.5; unknown on 2.8; right on 2.13"


def test_where_none_can_be_searched_that_is_an_error() -> None:
    with pytest.raises(MachineError, match=r"no environment could be searched: venv-2\.5: died"):
        searched({"2.5": MachineError("died"), "2.13": MachineError("died too")})


def test_same_release_twice_is_told_apart_by_name() -> None:
    outcome = [
        Searched(Environment("a", "2.5.1"), WRONG),
        Searched(Environment("b", "2.5.1"), RIGHT),
    ]
    assert operator_sentence("aten::baddbmm", outcome) == (
        "baddbmm: wrong on 2.5.1 (a); right from 2.5.1 (b)"
    )


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def across(call: Called, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """``localise --across`` over environments whose searches come to these results."""

    def called(results: Mapping[str, Any], *options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(
            "sdbench.cli.localise_across.resolve_stack",
            lambda name: make_stack(torch=name.removeprefix("venv-")),
        )
        monkeypatch.setattr(
            "sdbench.cli.localise._localise",
            lambda request, *_, **__: results[request.stack.removeprefix("venv-")],
        )
        names = ",".join(f"venv-{release}" for release in results)
        return call("localise", "--across", names, *options)

    return called


def test_command_reports_and_ends_with_the_search_that_writes_a_script(across: Any) -> None:
    code, out, err = across({"2.5.1": WRONG, "2.13.0": RIGHT}, "--slicing")
    assert code == 1
    assert out.splitlines() == [
        "venv-2.5.1, torch 2.5.1: 1 operator wrong, 2 calls compared",
        "venv-2.13.0, torch 2.13.0: 0 operators wrong, 2 calls compared",
        "baddbmm: wrong on 2.5.1; right from 2.13.0",
    ]
    last = err.splitlines()[-1]
    assert last.startswith("next: sdbench localise --stack venv-2.5.1 ")
    assert last.endswith(" --slicing")


def test_exit_is_0_only_where_all_was_searched_and_nothing_is_wrong(across: Any) -> None:
    code, out, _ = across({"2.5.1": RIGHT, "2.13.0": RIGHT})
    assert code == 0 and out.endswith("No operator is wrong on 2.5.1, 2.13.0.\n")
    code, _, err = across({"2.5.1": RIGHT, "2.13.0": found(complete=False)})
    assert code == 1 and err.endswith("next: sdbench doctor --python venv-2.13.0\n")


def test_document_has_every_environment_and_every_operator(across: Any) -> None:
    code, out, _ = across({"2.5.1": WRONG, "2.13.0": RIGHT}, "--json")
    document = json.loads(out)
    assert code == 1
    assert [one["torch"] for one in document["across"]] == ["2.5.1", "2.13.0"]
    assert document["across"][0]["result"]["ops"][0]["op"] == "aten::baddbmm"
    (operator,) = document["operators"]
    assert operator["answers"] == {"venv-2.5.1": "wrong", "venv-2.13.0": "right"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--across", "current"), "expected two or more different environments"),
        (("--across", "current,current"), "expected two or more different environments"),
        (("--across", "a,b", "--stack", "c"), "neither --stack nor --output"),
        (("--across", "current,no-such"), "no environment 'no-such'"),
    ],
)
def test_wrong_use_is_one_line(arguments: tuple[str, ...], words: str, call: Called) -> None:
    code, out, err = call("localise", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_american_spelling_is_the_same_command(call: Called) -> None:
    help_of = {verb: call(verb, "--help")[1] for verb in ("localize", "localise")}
    assert (
        help_of["localize"].replace("sdbench localize", "sdbench localise") == help_of["localise"]
    )
    code, _, err = call("localize", "--resolution", "1x1")
    assert code == 2 and "sdbench localise --help" in err
