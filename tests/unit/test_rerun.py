"""``sdbench compare BASE NEW --rerun``: both sides again, or one clear line why not."""

import json
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from factories import Called, play
from measured_runs import Fields, measured, one_case, steady, two_arms

from sdbench import machine
from sdbench.errors import MachineError, UsageError
from sdbench.process.executor import Report, Supervisor, Task
from sdbench.records import Arm, StackInfo
from sdbench.runner import rerun as again_module
from sdbench.runner.rerun import again
from sdbench.runs import LoadedRun, RunFolder, load_run
from sdbench.stacks import resolve_stack

CURRENT = resolve_stack("current")


def kept(root: Path, name: str, seconds: float = 1.0, **fields: Any) -> Path:
    """A run of this installation; its yardstick was never read, so a third is not decided."""
    config = fields.pop("config", one_case())
    unread: Fields = {"yardstick": None}
    loaded = measured(
        steady(seconds, seed=len(name)),
        config=config,
        fields=lambda slot: unread,
        **{
            "run_id": name,
            "machine_id": machine.machine_id(),
            "stacks": {"current": CURRENT},
            **fields,
        },
    )
    return written(root, loaded)


def written(root: Path, loaded: LoadedRun) -> Path:
    folder = RunFolder.create(root, loaded.run)
    for record in loaded.attempts:
        folder.append(record)
    folder.close()
    return folder.path


@pytest.fixture
def pair(results: Path) -> tuple[LoadedRun, LoadedRun]:
    return load_run(kept(results, "before")), load_run(kept(results, "after", 1.3))


# --- what is measured ----------------------------------------------------------------------------


def test_both_sides_become_arms_of_one_run_until_decided(
    pair: tuple[LoadedRun, LoadedRun],
) -> None:
    config = again(*pair, threshold=0.05)
    assert config.arm == (
        Arm(name="base", stack=CURRENT.interpreter),
        Arm(name="new", stack=CURRENT.interpreter),
    )
    assert config.until_decided is not None
    assert (config.until_decided.by, config.until_decided.threshold) == ("arm", 0.05)
    assert (config.matrix, config.exclude, config.start) == (None, (), "spawn")
    assert config.case is not None
    assert [entry.resolution for entry in config.case] == ["64x64"]
    for key in ("model", "steps", "seed", "images", "passes", "prompts", "scheduler"):
        wanted = pair[0].run.config[key]
        assert getattr(config, key) == (tuple(wanted) if key == "prompts" else wanted)


def test_only_cases_of_both_are_measured(results: Path) -> None:
    both = one_case(matrix={"resolution": ["64x64", "128x128"]})
    base = load_run(kept(results, "before"))
    new = load_run(kept(results, "after", config=both))
    config = again(base, new, 0.03)
    assert config.case is not None and len(config.case) == 1


def test_each_side_gets_its_own_variables_and_preloads(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = [{"name": "mine", "env": {"PYTORCH_X": "1"}, "telemetry": False}]
    then = {"OMP_NUM_THREADS": "1", "SDBENCH_STANDIN_FAULT": "hang"}  # a preload may read it
    base = load_run(kept(results, "before", environment=then))
    new = load_run(
        kept(
            results,
            "after",
            config=one_case(arm=arm),
            environment={"OMP_NUM_THREADS": "2", "SDBENCH_CACHE": "/then"},
            preload=["mine"],
        )
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    first, second = again(base, new, 0.03).arm
    assert first.env == then
    assert second.env == {"SDBENCH_WORKER_PRELOAD": "mine", "PYTORCH_X": "1"}
    assert second.telemetry is False


# --- refusals ------------------------------------------------------------------------------------


def refusal(base: LoadedRun, new: LoadedRun) -> str:
    with pytest.raises(UsageError, match="--rerun: ") as caught:
        again(base, new, 0.03)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_interpreter_that_a_stranger_names_is_not_started(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_run(kept(results, "before"))
    theirs = kept(results, "after")
    document = json.loads((theirs / "run.json").read_text())
    document["stacks"]["current"]["interpreter"] = str(tmp_path / "evil.sh")
    (theirs / "run.json").write_text(json.dumps(document))
    started = "sdbench.runner.prepare.resolve_stack"
    monkeypatch.setattr(started, lambda stack: pytest.fail(f"started {stack}"))
    for one, two in ((base, load_run(theirs)), (load_run(theirs), base)):
        words = refusal(one, two)
        assert "was not made by this installation" in words
        assert "sdbench run --stack OLD --stack NEW" in words


def test_environment_that_was_updated_in_place_is_gone(results: Path) -> None:
    older = StackInfo(
        interpreter=sys.executable,
        python=CURRENT.python,
        packages={**CURRENT.packages, "torch": "1.0"},
    )
    base = load_run(kept(results, "before", stacks={"current": older}))
    words = refusal(base, load_run(kept(results, "after")))
    assert "the environment of base (before) has changed since: torch" in words


def test_environment_that_was_removed_is_named(results: Path) -> None:
    gone = StackInfo(interpreter="/no/such/python", python="3.11.0", packages={})
    new = load_run(kept(results, "after", stacks={"current": gone}))
    words = refusal(load_run(kept(results, "before")), new)
    assert "the environment of new (after) is gone" in words


def test_variable_of_today_cannot_be_taken_away(
    pair: tuple[LoadedRun, LoadedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_NO_CUDA_MEMORY_CACHING", "1")
    assert "was measured without PYTORCH_NO_CUDA_MEMORY_CACHING" in refusal(*pair)


def test_variable_that_is_not_on_record_in_full_is_not_guessed(results: Path) -> None:
    then: Fields = {"environment": {"PYTORCH_KERNEL_CACHE_PATH": "~/kernels"}}
    words = refusal(load_run(kept(results, "before", **then)), load_run(kept(results, "after")))
    assert "PYTORCH_KERNEL_CACHE_PATH=~/kernels, which is not on record in full" in words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"machine_id": "another"}, "was made on another machine"),
        ({"config": two_arms(), "stacks": {"current": CURRENT}}, "has 2 variants"),
        ({"config": one_case(steps=7)}, "the numbers of steps differ"),
        ({"device": "mps"}, "the devices differ"),
        ({"config": one_case(matrix={"resolution": ["128x128"]})}, "no case in common"),
    ],
)
def test_runs_that_cannot_be_made_again_together(results: Path, fields: Fields, words: str) -> None:
    base = load_run(kept(results, "before"))
    assert words in refusal(base, load_run(kept(results, "after", **fields)))


def test_secret_that_is_not_here_any_more(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(run: object) -> None:
        raise MachineError("variant mine was given HF_TOKEN")

    monkeypatch.setattr(again_module, "shown_run", shown)
    base, new = load_run(kept(results, "before")), load_run(kept(results, "after"))
    assert "HF_TOKEN" in refusal(base, new)


# --- the command line ----------------------------------------------------------------------------


def slower_new(task: Task, supervise: Supervisor) -> Report:
    """Workers whose passes take about 1 s, and 1.3 times as long in the variant ``new``."""
    slow = 1.3 if ".new." in task.replicate_id else 1.0
    scatter = random.Random(task.replicate_id).gauss(0, 0.004)
    return play(task, supervise, pass_s=slow * (1 + scatter))


def test_open_comparison_names_the_command_and_the_command_decides(
    call: Called, results: Path, tiny: None
) -> None:
    base, new = kept(results, "before"), kept(results, "after", 1.3)
    code, out, _ = call("compare", base, new, "--json")
    document = json.loads(out)
    (case,) = document["cases"]
    assert (code, case["verdict"], case["reason"]) == (0, "inconclusive", "not-interleaved")
    assert case["command"] == f"sdbench compare {base} {new} --rerun"
    assert case["drift"]["source"] == "prior"
    assert any(case["command"] in note for note in document["summary"]["notes"])
    _, out, _ = call("compare", base, new)
    assert case["command"] in out.replace("\n", " ")

    _, *words = case["command"].split()
    code, out, err = call(*words, "-o", results, "--yes", "--json", script=slower_new)
    document = json.loads(out)
    (case,) = document["cases"]
    assert (code, case["verdict"], case["paired"], case["drift"]) == (0, "slower", True, None)
    assert (case["base"], case["new"]) == ("base", "new")
    made = load_run(Path(document["base"]["path"]))
    assert made.own
    assert made.run.label == "before against after"
    assert "decided" in err


@pytest.mark.parametrize(("options", "expected"), [([], 130), (["--bisect"], 125)])
def test_rerun_that_the_user_stops_is_kept_and_decides_nothing(
    call: Called, results: Path, tiny: None, options: list[str], expected: int
) -> None:
    def interrupted(task: Task, supervise: Supervisor) -> Report:
        signal.raise_signal(signal.SIGINT)
        return play(task, supervise)

    base, new = kept(results, "before"), kept(results, "after", 1.3)
    code, out, err = call(
        *("compare", base, new, "--rerun", "--yes", "-o", results, *options), script=interrupted
    )
    assert (code, out) == (expected, "")
    (made,) = {path.parent for path in results.glob("*/run.json")} - {base, new}
    assert f"Go on with: sdbench resume {made}" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--by", "arm"], "expected two runs and no --by"),
        ([], "was measured without OMP_NUM_THREADS"),
    ],
)
def test_refusal_is_one_line_with_exit_code_2(
    call: Called,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    base, new = kept(results, "before"), kept(results, "after")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    code, out, err = call("compare", base, new, "--rerun", *options, "-o", results)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err
    assert call("compare", base, new, "--rerun", *options, "--bisect")[0] == 125


def test_command_is_not_offered_for_a_run_of_several_arms(call: Called, results: Path) -> None:
    arms: Fields = {"config": two_arms(), "stacks": {"current": CURRENT}}
    base, new = kept(results, "before", **arms), kept(results, "after", 1.3, **arms)
    cases = json.loads(call("compare", base, new, "--json")[1])["cases"]
    assert [(case["reason"], case["command"]) for case in cases] == [("not-interleaved", None)] * 2


def test_command_is_not_offered_where_it_could_not_run(call: Called, results: Path) -> None:
    base, new = kept(results, "before"), kept(results, "after", 1.3)
    (new / "run.json").write_text((new / "run.json").read_text() + "\n")  # not as it was written
    (case,) = json.loads(call("compare", base, new, "--json")[1])["cases"]
    assert (case["reason"], case["command"]) == ("not-interleaved", None)
