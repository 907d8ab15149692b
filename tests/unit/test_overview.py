"""``sdbench show``: a run on one screen, whatever it holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from diagnosed_runs import beside_cpu, case, image_of, loaded_run, matching, only, plan
from factories import make_model
from measured_runs import kept, measured, one_case, steady

from sdbench.cli import main
from sdbench.cli.show import find_case
from sdbench.errors import UsageError
from sdbench.report.terminal.overview import MAX_LINES
from sdbench.runs import LoadedRun, RunFolder

Shown = Callable[..., list[str]]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shown:
    """The lines that ``show`` prints about a run."""

    def lines(loaded: LoadedRun, *arguments: str) -> list[str]:
        path = tmp_path / loaded.run.run_id
        if not path.exists():
            kept(tmp_path, loaded)
            folder = RunFolder.open(path)
            for record in loaded.comparisons:
                folder.append(record)
            folder.close()
        assert main(["show", str(path), *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return lines


def line_of(lines: list[str], what: str) -> str:
    """The first line that begins with a word."""
    return next(line for line in lines if line.startswith(what))


def test_first_comes_what_ran_then_the_verdict_then_the_table(shown: Shown) -> None:
    lines = shown(loaded_run(label="mine"))
    starts = [line.split()[0] for line in lines]
    assert starts.index("run") < starts.index("verdict") < starts.index("case")
    assert "mine" in line_of(lines, "run")
    assert "Healthy" in line_of(lines, "verdict")
    assert "synthetic/tiny on mps" in line_of(lines, "model")
    assert starts.index("case") < starts.index("use") < starts.index("more")
    assert any("64x64 sliced" in line and "same as CPU" in line for line in lines)


def test_what_to_use_is_marked_and_said_with_its_gain(shown: Shown) -> None:
    loaded = loaded_run(seconds=lambda slot, of: steady(0.5 if of.attention_slicing else 1.0)(slot))
    lines = shown(loaded)
    assert [line.split()[1] for line in lines if line.rstrip().endswith("●")] == ["sliced"]
    assert "64x64, one image or many: sliced – 0.25 s per image, 8.01 it/s" in line_of(lines, "use")
    assert "attention slicing on takes 0.50 times" in line_of(lines, "use")


def test_what_is_wrong_stands_below_the_table(shown: Shown) -> None:
    broken = [image_of(0, "broken", fault="black"), image_of(1)]
    loaded = loaded_run(
        only(case(warmup=True), outcome="crashed", reason="ended by SIGABRT", passes=[]),
        compared=lambda slot, of: (
            beside_cpu(slot, of, broken) if of.attention_slicing else matching(slot, of)
        ),
    )
    lines = shown(loaded)
    assert "Not healthy" in line_of(lines, "verdict")
    assert any(line.startswith("  error  Processes crash or fail – 64x64") for line in lines)
    assert any(line.startswith("  64x64 primed: crashed – ended by SIGABRT") for line in lines)
    assert any(line.startswith("  64x64 sliced: wrong image") for line in lines)


def test_simulated_unfinished_and_swapped_are_said(shown: Shown) -> None:
    loaded = measured(
        simulated=True,
        config=one_case(3),
        skip=lambda slot: slot.block > 0,
        fields=lambda slot: {"swapped_out_bytes": 3_000_000_000},
    )
    lines = shown(loaded)
    assert "SIMULATED" in line_of(lines, "NOTE")
    assert "Written to swap meanwhile: 3.0 GB." in line_of(lines, "swap")
    assert any("sdbench resume" in line for line in lines)


def test_same_reason_of_many_cases_is_said_once(shown: Shown) -> None:
    lines = shown(measured(config=one_case(1, matrix=wide(9)), skip=lambda slot: True))
    assert [line for line in lines if "not reached yet" in line] == [
        "  64x64 and 8 more cases: skipped – not reached yet: sdbench resume continues with it"
    ]
    told = [line for line in lines if "processes have not been run" in line]
    assert [line.split()[0] for line in told] == ["verdict", "warning"]


def test_run_that_no_claim_speaks_of_has_no_line_about_claims(shown: Shown) -> None:
    """Claims are tested in a variant without ballast, and here there is none."""
    assert any(line.startswith("claims ") for line in shown(measured(config=one_case(1))))
    held = measured(config=one_case(1, pressure={"hold_bytes": [5e7]}), run_id="held")
    assert not any(line.startswith("claims ") for line in shown(held))


def wide(cases: int) -> dict[str, Any]:
    return {"resolution": [f"{64 * index}x64" for index in range(1, cases + 1)]}


@pytest.mark.parametrize("cases", [1, 8, 16, 24, 59])
@pytest.mark.parametrize("failing", [False, True])
def test_forty_lines_are_enough(shown: Shown, cases: int, failing: bool) -> None:
    def fields(slot: Any) -> dict[str, Any]:
        if not failing or slot.index % 2:
            return {}
        return {"outcome": "failed", "reason": f"reason {slot.index}", "passes": []}

    loaded = measured(config=one_case(3, matrix=wide(cases)), fields=fields)
    lines = shown(loaded)
    assert len(lines) <= MAX_LINES
    everything = shown(loaded, "--all")
    assert sum(line.split()[0].endswith("x64") for line in everything if line.strip()) >= cases
    if len(lines) == len(everything):
        assert not any("--all" in line for line in lines)
    else:
        assert any("--all shows them" in line for line in lines)


def test_what_does_not_fit_is_what_went_well(shown: Shown) -> None:
    def fields(slot: Any) -> dict[str, Any]:
        if slot.case_id.startswith("3200x"):
            return {"outcome": "oom", "reason": "no memory", "passes": []}
        return {}

    lines = shown(measured(config=one_case(1, matrix=wide(50)), fields=fields))
    assert any(line.startswith("3200x64") and "out of memory" in line for line in lines)
    assert any("more cases: --all shows them" in line for line in lines)


# --- a case by name ------------------------------------------------------------------------------


def test_case_is_found_by_what_the_table_calls_it() -> None:
    loaded = loaded_run()
    ids = {planned.case_id for planned in loaded.run.plan.cases}
    assert find_case(loaded, "64x64") == case().case_id
    assert find_case(loaded, "64x64 sliced") == case(attention_slicing=True).case_id
    assert find_case(loaded, "64x64-prim") == case(warmup=True).case_id
    assert {find_case(loaded, case_id) for case_id in ids} == ids
    for wrong in ("64", "64x64 x"):
        with pytest.raises(UsageError, match="called"):
            find_case(loaded, wrong)


# --- every verb, and text that would do something ------------------------------------------------

HOSTILE = "[bold]x[/nothing] \x1b]0;t\x07\x1b[2J <b>y</b> \u202e :smile: [link=http://z]q[/link]"
SEEN = r"[bold]x[/nothing] \x1b]0;t\x07\x1b[2J <b>y</b> \u202e :smile: [link=http://z]q[/link]"


def hostile(path: Path) -> Path:
    """A run in which everything that others wrote is hostile, as a folder."""

    def fields(slot: Any, of: Any) -> dict[str, Any]:
        common = {"device": {"kind": "mps", "facts": {"name": HOSTILE, HOSTILE: HOSTILE}}}
        if not of.warmup:
            return common
        return common | {
            "outcome": "failed",
            "reason": HOSTILE,
            "exception_type": HOSTILE,
            "exception_message": HOSTILE,
            "stderr_tail": HOSTILE,
            "stdout_tail": HOSTILE,
            "fallback_operators": [HOSTILE],
            "passes": [],
        }

    def compared(slot: Any, of: Any) -> Any:
        image = image_of(0, "broken" if of.attention_slicing else "match")
        told = beside_cpu(slot, of, [image])
        return msgspec.structs.replace(told, reason=HOSTILE, reference=HOSTILE)

    loaded = loaded_run(
        fields,
        config=plan(prompts=[HOSTILE], arm=[{"name": "one"}, {"name": "two"}]),
        compared=compared,
        label=HOSTILE,
        model=msgspec.structs.replace(make_model(), name=HOSTILE, trained=True),
        machine={"chip": HOSTILE, "memory_bytes": 8_000_000_000, "system": HOSTILE},
        environment={"SDBENCH_X": HOSTILE},
        preload=[HOSTILE],
    )
    folder = kept(path, loaded)
    opened = RunFolder.open(folder)
    for record in loaded.comparisons:
        opened.append(record)
    opened.close()
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "RUN"],
        ["show", "RUN", "--all"],
        ["show", "RUN", "64x64"],
        ["show", "RUN", "64x64 primed"],
        ["show", "RUN", "64x64 sliced"],
        ["diagnose", "RUN"],
        ["compare", "RUN"],
        ["compare", "RUN", "RUN"],
        ["compare", "RUN", "--by", "attention_slicing"],
        ["list", "-o", "ROOT"],
        ["history", "-o", "ROOT"],
        ["report", "RUN", "-f", "csv"],
        ["report", "RUN", "-f", "junit"],
        ["report", "RUN", "-f", "json"],
        ["report", "RUN", "-f", "row"],
        ["report", "RUN", "-f", "md"],
    ],
    ids=" ".join,
)
def test_no_verb_obeys_what_others_wrote(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = hostile(tmp_path)
    places = {"RUN": str(path), "ROOT": str(tmp_path)}
    code = main([places.get(argument, argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code in (0, 1), err
    for text in (out, err):
        for line in text.splitlines():
            assert line.isprintable(), line
    if arguments[0] in ("show", "list", "history"):
        assert SEEN.split()[0] in out


def test_error_shows_what_was_typed_and_obeys_none_of_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments in (
        ["show", HOSTILE],
        ["show", str(hostile(tmp_path)), HOSTILE],
        ["run", HOSTILE],
        ["run", "--set", HOSTILE],
        ["run", "quick", "--model", HOSTILE],
        ["doctor", "--python", HOSTILE],
        ["compare", HOSTILE, HOSTILE],
        [HOSTILE],
    ):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert line.isprintable()
        assert "[bold]x[/nothing]" in line


def test_dry_run_shows_hostile_prompts_as_text(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "plan.toml"
    text = HOSTILE.replace("\x1b", "\\u001b").replace("\x07", "\\u0007")
    file.write_text(
        f'model = "synthetic/tiny"\ndescription = "{text}"\nprompts = ["{text}"]\n'
        'images = 1\n[matrix]\nresolution = ["64x64"]\n',
        encoding="utf-8",
    )
    code = main(["run", str(file), "--dry-run", "--label", HOSTILE])
    out, err = capsys.readouterr()
    assert code in (0, 3), err
    assert all(line.isprintable() for line in (out + err).splitlines())


def test_memory_that_nobody_measured_is_left_out_of_the_advice(shown: Shown) -> None:
    def unmeasured(slot: Any, of: Any) -> dict[str, Any]:
        return {"peak_memory_bytes": None, "peak_memory_source": None}

    use = line_of(shown(loaded_run(unmeasured)), "use")
    assert "per image" in use and "None" not in use and "GB" not in use
