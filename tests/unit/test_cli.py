"""The command line: exit codes, one-line errors, exactly one document, and a light start."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from factories import Called, make_config, make_picture, make_run, play, small_run, worker_events

from sdbench.analysis.case_words import case_words
from sdbench.cli import VERBS, cli
from sdbench.cli.list import MOST
from sdbench.knowledge.crash_reports import read_crash_report
from sdbench.plan.config import Config
from sdbench.privacy.redact_recorded import hidden_run
from sdbench.process.executor import Report, Supervisor, Task
from sdbench.records import Run, StackInfo
from sdbench.runs import RunFolder, list_runs, load_run
from sdbench.stacks import resolve_stack
from sdbench.words import device_words

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"
HEAVY = ("torch", "numpy", "pandas", "scipy", "matplotlib")


def keep(root: Path, run: Run | None = None) -> Path:
    """A run folder with nothing measured in it."""
    folder = RunFolder.create(root, run or own_run())
    folder.close()
    return folder.path


def own_run(config: Config | None = None, **fields: Any) -> Run:
    """A run that this machine and this environment could go on with."""
    return make_run(config, **{"stacks": {"current": resolve_stack("current")}, **fields})


def black(task: Task, supervise: Supervisor) -> Report:
    """A worker that makes black images and ends well."""
    events = worker_events(task)
    for event in events:
        if event["event"] == "pass":
            event["images"] = [msgspec.to_builtins(make_picture(black=True))]
    return play(task, supervise, events=events)


def crashing(task: Task, supervise: Supervisor) -> Report:
    return play(task, supervise, exit_code=-signal.SIGSEGV)


def assert_one_line(text: str) -> None:
    assert re.fullmatch(r"sdbench: [^\n]+\n", text), text


# --- start and help ------------------------------------------------------------------------------


def loaded_by(*arguments: str) -> dict[str, Any]:
    """What a fresh interpreter has imported after a call."""
    (answer,) = loaded_by_each([arguments])
    return answer


def loaded_by_each(calls: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """What a fresh interpreter has imported after each of these calls in turn."""
    program = (
        "import json, sys; from sdbench.cli import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    code = main(arguments)\n"
        "    print(json.dumps({'code': code, 'modules': sorted(sys.modules)}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(calls)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stderr.splitlines()[-len(calls) :]]


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_imports_nothing_heavy_and_no_verb(argument: str) -> None:
    answer = loaded_by(argument)
    assert answer["code"] == 0
    assert {name.split(".")[0] for name in answer["modules"]} & set(HEAVY) == set()
    assert {name for name in answer["modules"] if name.startswith("sdbench.")} == {
        "sdbench.cli",
        "sdbench.cli.streams",
        "sdbench.errors",
        "sdbench.words",
    }


def test_showing_a_run_imports_nothing_heavy(results: Path) -> None:
    keep(results)
    answer = loaded_by("show", "latest", "-o", str(results))
    assert {name.split(".")[0] for name in answer["modules"]} & set(HEAVY) == set()


def test_help_lists_every_verb_and_the_exit_codes(call: Called) -> None:
    code, out, _ = call("--help")
    assert code == 0
    for verb, (_, line) in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(line)}$", out, re.MULTILINE)
    for number in ("0", "1", "2", "3", "70", "130"):
        assert number in out[out.index("Exit codes:") :]


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_for_itself_and_each_option(verb: str, call: Called) -> None:
    code, out, _ = call(verb, "--help")
    assert code == 0
    assert f"Usage: sdbench {verb}" in out
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert command.name == verb
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{verb} {parameter.opts} has no help"
        else:
            assert parameter.name is not None
            assert parameter.name.upper() in command.help, f"{verb} does not explain {parameter}"


def test_command_line_can_be_called_twice_in_one_process(tmp_path: Path) -> None:
    program = "from sdbench.cli import main; print(main(['list']), main(['list']))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["0 0"], done.stderr


def test_help_of_every_verb_imports_nothing_heavy() -> None:
    verbs = sorted(VERBS)
    answers = loaded_by_each([(verb, "--help") for verb in verbs])
    for verb, answer in zip(verbs, answers, strict=True):
        assert answer["code"] == 0, verb
        assert {name.split(".")[0] for name in answer["modules"]} & set(HEAVY) == set(), verb


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_short_help_is_the_same_help(verb: str, call: Called) -> None:
    code, out, err = call(verb, "--help")
    assert (code, err) == (0, "")
    assert call(verb, "-h") == (0, out, "")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_can_speak_json(verb: str, call: Called) -> None:
    assert "--json" in call(verb, "--help")[1]


def test_version_is_the_packages(call: Called) -> None:
    from sdbench import __version__

    assert call("--version") == (0, f"sdbench, version {__version__}\n", "")


def test_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sdbench", "list"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "No runs in results yet. Make one with: sdbench run\n"


# --- wrong usage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "quik"], "quik: no such configuration; did you mean"),
        (["run", "absent.toml"], "absent.toml: no such file"),
        (["run", "quick", "--set", "steps=0"], "quick: steps: expected a number from 1 to 1000"),
        (["run", "quick", "--set", "stepps=1"], "quick: stepps: unknown key; did you mean 'steps'"),
        (["run", "quick", "--set", "steps"], "--set: steps: expected key=value"),
        (["run", "quick", "--only", "size=1"], "--only size=1: expected AXIS=VALUE"),
        (
            ["run", "quick", "--model", "synthetic/x"],
            "no model 'synthetic/x'; there are builtin/shapes, synthetic/",
        ),
        (["run", "quick", "--model", "./absent"], "no model './absent': expected a folder"),
        (
            ["run", "quick", "--stack", "./absent"],
            "no environment './absent': expected 'current', or",
        ),
        (["resume", "nothing"], "no run called 'nothing'"),
        (["show", "nothing"], "no run called 'nothing'"),
        (["show", "latest"], "no run called 'latest'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    call: Called, results: Path, arguments: list[str], expected: str
) -> None:
    code, out, err = call(*arguments, "-o", str(results))
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert expected in err
    assert not results.exists()


@pytest.mark.parametrize(
    ("arguments", "what", "command"),
    [
        (["walk"], "'walk'", "sdbench"),
        (["--nonsense"], "'--nonsense'", "sdbench"),
        (["run", "--nonsense"], "'--nonsense'", "sdbench run"),
        (["run", "--device", "tpu"], "'--device': 'tpu' is not one of 'auto'", "sdbench run"),
        (["run", "quick", "more"], "(more)", "sdbench run"),
        (["resume"], "'RUN'", "sdbench resume"),
        (["show"], "'RUN'", "sdbench show"),
        pytest.param(["list", "--json=5"], "'--json'", "sdbench list"),
        pytest.param(["run", "--model"], "'--model'", "sdbench run"),
    ],
)
def test_arguments_that_do_not_parse_are_one_line_that_names_the_command(
    call: Called, arguments: list[str], what: str, command: str
) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert what in err
    assert err.endswith(f" (see {command} --help)\n")


def test_no_verb_at_all_shows_the_help(call: Called) -> None:
    _, out, err = call()
    assert call("--help")[1] in (out, err)


def test_results_folder_that_is_a_file_is_wrong_usage(call: Called, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = call("list", "-o", str(tmp_path / "file"))
    assert code == 2
    assert "is a file" in err


def test_results_folder_that_cannot_be_made_is_wrong_usage(
    call: Called, tmp_path: Path, own_cache: Path
) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = call(*small_run(tmp_path / "file" / "results"))
    assert (code, out) == (2, "")
    assert "cannot be made" in err
    assert not own_cache.exists()  # before the model was built


def test_long_run_into_a_pipe_is_not_started(call: Called, results: Path, own_cache: Path) -> None:
    code, out, err = call("run", "full", "--device", "cpu", "-o", str(results))
    assert (code, out) == (2, "")
    assert re.search(
        r"it takes about \d+\.\d hours.*no terminal is available for a question, so add --yes", err
    )
    assert not own_cache.exists()
    assert list_runs(results) == []


# --- run -----------------------------------------------------------------------------------------


def test_dry_run_prints_one_document_and_leaves_nothing(
    call: Called, results: Path, own_cache: Path
) -> None:
    code, out, _ = call("run", "quick", "--dry-run", "--json", "-o", str(results))
    document = json.loads(out)
    assert code == 0
    assert document["device"] == "cpu"
    assert len(document["plan"]["slots"]) == 16
    assert document["estimate"]["duration_s"] > 0
    assert document["estimate"]["download_bytes"] == 0
    assert not results.exists()
    assert not own_cache.exists()
    assert set(document["memory"]["cases"].values()) <= {
        "fits",
        "tight",
        "unknown",
        "swaps",
        "fails",
    }
    stages = document["plan"]["cases"][0]["memory"]["stages"]
    assert [one["stage"] for one in stages] == ["load", "text_encoder", "denoising", "vae_decode"]


def test_dry_run_shows_the_order_what_is_skipped_and_what_is_merged(
    call: Called, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'model = "synthetic/tiny"\ndevice = "cpu"\nimages = 1\nreplicates = 2\n[matrix]\n'
        'resolution = ["64x64"]\nbatching = ["loop", "batch"]\noffload = ["none", "model"]\n'
    )
    code, out, _ = call("run", str(path), "--dry-run")
    assert code == 0
    assert "block 2  64x64" in out
    assert "skipped: 64x64 offload-model – offload moves weights" in out
    assert "a batch of one image is a loop of one → 64x64-" in out


def test_default_on_a_cpu_is_quick(call: Called) -> None:
    _, out, _ = call("run", "--device", "cpu", "--dry-run", "--json")
    config = json.loads(out)["config"]
    assert (config["name"], config["model"]) == ("quick", "builtin/shapes")


def test_stacks_on_the_command_line_become_arms(call: Called) -> None:
    arguments = ["run", "quick", "--stack", "current", "--stack", "current", "--dry-run", "--json"]
    _, out, _ = call(*arguments)
    arms = json.loads(out)["plan"]["arms"]
    assert [(arm["name"], arm["stack"]) for arm in arms] == [
        ("current", "current"),
        ("current-2", "current"),
    ]


def test_dry_run_until_decided_shows_the_least_and_the_most_time(call: Called) -> None:
    arguments = ["run", "ci", "--stack", "current", "--stack", "current", "--dry-run"]
    code, out, _ = call(*arguments, "--until-decided")
    assert code == 0
    assert "until    every comparison by arm is decided" in out
    assert "analyses after 3, 5, 8, 13 and 21 processes" in out
    assert "at least about" in out
    assert "to at most block 21, until decided" in out
    fewer = "until_decided.max_processes=8"
    document = json.loads(call(*arguments, "--until-decided", "--set", fewer, "--json")[1])
    assert document["config"]["until_decided"]["by"] == "arm"
    assert len(document["plan"]["slots"]) == 2 * 2 * 3
    estimate = document["estimate"]
    assert estimate["at_most_s"] == pytest.approx(estimate["duration_s"] * 8 / 3)


def test_until_decided_with_nothing_to_compare_is_said_before_anything_runs(call: Called) -> None:
    code, _, err = call("run", "ci", "--only", "batching=loop", "--until-decided")
    assert code == 2
    assert "until_decided.by: there is nothing to compare" in err


def test_plan_that_could_find_no_difference_says_what_would(call: Called) -> None:
    quick = ["run", "quick", "--stack", "current", "--stack", "current", "--dry-run"]
    _, out, _ = call(*quick)
    assert "note: with replicates = 1 there are measurements without verdicts" in out
    assert "--set passes=4 detects changes far more often" in out
    _, out, _ = call("run", "ci", "--stack", "current", "--stack", "current", "--dry-run")
    assert "note:" not in out
    _, out, _ = call("run", "quick", "--dry-run")
    assert "note:" not in out


@pytest.mark.usefixtures("tiny")
def test_run_prints_exactly_one_document(call: Called, results: Path) -> None:
    code, out, err = call(*small_run(results, "--json", "--label", "mine"), script=play)
    document = json.loads(out)
    assert code == 0
    assert document["outcomes"] == {"ok": 1}
    assert document["device"] == "cpu"
    assert document["simulated"] is False
    loaded = load_run(Path(document["path"]))
    assert (loaded.run.run_id, loaded.run.label) == (document["run_id"], "mine")
    assert len(loaded.attempts) == 1
    assert "Nothing is downloaded" in err


@pytest.mark.usefixtures("tiny")
def test_run_prints_a_table_and_what_to_do_next(call: Called, results: Path) -> None:
    code, out, err = call(*small_run(results), script=play)
    assert code == 0
    assert re.search(r"^128x128 +│ ok +│", out, re.MULTILINE)
    assert "random weights" in out
    assert "sdbench show" in out
    assert "[1/1] 128x128: ok" in err
    assert "\x1b" not in out + err


@pytest.mark.usefixtures("tiny")
def test_case_that_did_not_end_well_is_exit_code_1(call: Called, results: Path) -> None:
    code, out, err = call(*small_run(results), script=crashing)
    assert code == 1
    assert "crashed – ended by SIGSEGV in end" in out
    assert "Traceback" not in err


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("more", "code"), [([], 0), (["--fail-on", "wrong"], 1)])
def test_wrong_picture_fails_where_asked(
    call: Called, results: Path, more: list[str], code: int
) -> None:
    got, out, _ = call(*small_run(results, "--json", *more), script=black)
    assert got == code
    assert json.loads(out)["cases"][0]["correct"] == "broken"


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("more", "code"), [([], 0), (["--fail-on", "skipped"], 1)])
def test_skipped_case_fails_where_asked(
    call: Called, results: Path, more: list[str], code: int
) -> None:
    offload = ["--set", 'matrix.offload=["none","model"]']
    assert call(*small_run(results, *offload, *more), script=play)[0] == code


@pytest.mark.usefixtures("tiny")
def test_interrupted_run_is_exit_code_130_and_can_be_resumed(call: Called, results: Path) -> None:
    def interrupting(task: Task, supervise: Supervisor) -> Report:
        os.kill(os.getpid(), signal.SIGINT)
        return play(task, supervise)

    code, out, err = call(*small_run(results, "--json"), script=interrupting)
    document = json.loads(out)
    assert code == 130
    assert "all measurements are kept. Continue with: sdbench resume" in err
    code, out, _ = call("resume", document["path"], "--json", script=play)
    assert code == 0
    assert json.loads(out)["outcomes"] == {"ok": 1}


@pytest.mark.usefixtures("tiny")
def test_device_that_does_not_work_is_exit_code_3(
    call: Called, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDBENCH_WORKER_PRELOAD", "stand_in")
    answer = {"event": "device", "kind": "mps", "available": False, "reason": "no Metal here"}

    def probing(task: Task, supervise: Supervisor) -> Report:
        return play(task, supervise, events=[answer])

    code, out, err = call(*small_run(results, "--device", "mps"), script=probing)
    assert (code, out) == (3, "")
    assert err == "sdbench: device mps: no Metal here; next: sdbench doctor\n"


# --- resume, list, show --------------------------------------------------------------------------


def test_resume_of_another_machines_run_is_exit_code_3(call: Called, results: Path) -> None:
    keep(results, own_run(machine_id="another"))
    code, out, err = call("resume", "latest", "-o", str(results), script=play)
    assert (code, out) == (3, "")
    assert_one_line(err)
    assert "was begun on another machine" in err


def test_resume_with_another_torch_is_exit_code_3(call: Called, results: Path) -> None:
    now = resolve_stack("current")
    before = StackInfo(
        interpreter=now.interpreter, python=now.python, packages={**now.packages, "torch": "0.1"}
    )
    keep(results, own_run(stacks={"current": before}))
    code, _, err = call("resume", "latest", "-o", str(results), script=play)
    assert code == 3
    assert_one_line(err)
    assert f"torch was 0.1 and is {now.packages['torch']}" in err


def test_resume_with_another_preload_is_exit_code_3(
    call: Called, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(results)
    monkeypatch.setenv("SDBENCH_WORKER_PRELOAD", "stand_in")
    code, _, err = call("resume", "latest", "-o", str(results), script=play)
    assert code == 3
    assert "was begun with SDBENCH_WORKER_PRELOAD=(unset)" in err


def run_with_a_secret() -> Run:
    """As it is written down: a variant had a token, and the file has none."""
    arm = {"name": "mine", "env": {"HF_TOKEN": TOKEN, "PYTORCH_X": "1"}}
    run = own_run(config=make_config(arm=[arm]))
    written = hidden_run(run)
    assert TOKEN not in msgspec.json.encode(written).decode()
    return written


def test_resume_asks_again_for_a_secret_of_an_arm(
    call: Called, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    path = keep(results, run_with_a_secret())
    before = (path / "run.json").read_bytes()
    code, out, err = call("resume", "latest", "-o", str(results), script=play)
    assert (code, out) == (3, "")
    assert_one_line(err)
    assert "variant mine was given HF_TOKEN" in err
    assert "set it in the environment to go on" in err
    assert (path / "run.json").read_bytes() == before


def test_resume_takes_a_secret_of_an_arm_from_the_environment(
    call: Called, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, str]] = []

    def noting(task: Task, supervise: Supervisor) -> Report:
        given.append((task.environment["HF_TOKEN"], task.environment["PYTORCH_X"]))
        return play(task, supervise)

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    path = keep(results, run_with_a_secret())
    code, _, err = call("resume", "latest", "-o", str(results), script=noting)
    assert code == 0, err
    # The four that were left, and the one that measures what the device can do.
    assert given == [(TOKEN, "1")] * 5
    kept = [file.read_bytes() for file in path.rglob("*") if file.is_file()]
    assert not any(TOKEN.encode() in data for data in kept)


def test_refused_resume_leaves_the_folder_as_it_was(call: Called, results: Path) -> None:
    path = keep(results, own_run(machine_id="another"))
    before = (path / "run.json").read_bytes()
    call("resume", "latest", "-o", str(results), script=play)
    assert (path / "run.json").read_bytes() == before
    assert not (path / "records.jsonl").exists()


def test_resume_runs_the_rest_and_notes_the_sitting(call: Called, results: Path) -> None:
    path = keep(results)
    code, out, err = call("resume", "latest", "-o", str(results), "--json", script=play)
    assert code == 0
    assert json.loads(out)["outcomes"] == {"ok": 2}
    assert "0 of 4 processes are done, 4 remain." in err
    assert len(load_run(path).run.sittings) == 2
    code, _, err = call("resume", "latest", "-o", str(results), "--json", script=play)
    assert code == 0
    assert "4 of 4 processes are done, 0 remain." in err
    assert len(load_run(path).attempts) == 4
    assert len(load_run(path).run.sittings) == 2  # nothing was to do


def test_run_that_another_process_works_on_is_exit_code_2(call: Called, results: Path) -> None:
    folder = RunFolder.open(keep(results))
    code, _, err = call("resume", "latest", "-o", str(results), script=play)
    folder.close()
    assert code == 2
    assert "another sdbench is working on this run" in err


def test_list_prints_one_document_even_of_nothing(call: Called, results: Path) -> None:
    assert json.loads(call("list", "--json", "-o", str(results))[1])["runs"] == []
    path = keep(results, own_run(label="mine"))
    code, out, err = call("list", "--json", "-o", str(results))
    (row,) = json.loads(out)["runs"]
    assert (code, err) == (0, "")
    assert (row["run_id"], row["label"], row["complete"]) == (path.name, "mine", False)


def test_list_tells_of_a_run_it_cannot_read_and_goes_on(call: Called, results: Path) -> None:
    keep(results)
    broken = results / "20250101-000000-broken-0000"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    code, out, _ = call("list", "--json", "-o", str(results))
    rows = json.loads(out)["runs"]
    assert code == 0
    assert "not a run of this or an older version of sdbench" in rows[0]["error"]
    assert "error" not in rows[1]
    assert "unreadable" in call("list", "-o", str(results))[1]


def test_list_prints_the_last_runs_and_counts_the_others(call: Called, results: Path) -> None:
    keep(results)
    for number in range(MOST):
        broken = results / f"20250101-000000-broken-{number:04}"
        broken.mkdir()
        (broken / "run.json").write_text("{")
    code, out, _ = call("list", "-o", str(results))
    assert code == 0
    assert out.startswith("1 earlier run, 1 unreadable: --all lists them")
    assert out.count("\n20250101-") == MOST - 1
    everything = call("list", "--all", "-o", str(results))[1]
    assert "earlier" not in everything and everything.count("\n20250101-") == MOST
    assert len(json.loads(call("list", "--json", "-o", str(results))[1])["runs"]) == MOST + 1


def test_show_prints_one_document(call: Called, results: Path) -> None:
    keep(results)
    code, out, err = call("show", "latest", "--json", "-o", str(results))
    assert (code, err) == (0, "")
    assert len(json.loads(out)["cases"]) == 2


def test_show_prints_one_case_in_full(call: Called, results: Path) -> None:
    path = keep(results)
    call("resume", str(path), script=crashing)
    case_id = load_run(path).run.plan.cases[0].case_id
    code, out, _ = call("show", str(path), case_id, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["case_id"] == case_id
    assert {entry["signal"] for entry in document["replicates"]} == {"SIGSEGV"}
    code, out, _ = call("show", str(path), "64x64")
    assert code == 0
    assert "crashed: ended by SIGSEGV" in out


def test_show_tells_what_macos_reported_of_a_death(call: Called, results: Path) -> None:
    recorded = Path(__file__).parent.parent / "data/crash-reports/python-abort.mps-convolution.ips"
    report = read_crash_report(recorded.read_text())

    def aborting(task: Task, supervise: Supervisor) -> Report:
        return play(task, supervise, exit_code=-signal.SIGABRT, crash_report=report)

    path = keep(results)
    call("resume", str(path), script=aborting)
    _, out, _ = call("show", str(path), "64x64")
    assert "cause: A check inside Metal failed" in out
    assert "crash report: EXC_CRASH, SIGNAL 6: Abort trap: 6, MPSGraphConvolutionOps.mm" in out
    assert "Metal: MTLReportFailure\n" in out and "libsystem" not in out


def test_show_calls_the_memory_of_a_gpu_its_own_and_metals_a_recommendation() -> None:
    facts = {"name": "NVIDIA H200", "recommended_max_bytes": 150_110_011_392}
    assert device_words(facts, "cuda") == "NVIDIA H200, memory 140 GB"
    facts = {"name": "Apple M1", "recommended_max_bytes": 11_453_251_584}
    assert device_words(facts, "mps") == "Apple M1, recommended max 11.5 GB"


def test_show_says_how_sure_a_cause_is_and_where_it_was_reported(
    call: Called, results: Path
) -> None:
    tail = (
        "MPSNDArray.mm:7: failed assertion `[MPSNDArray x] Error: total bytes of NDArray > 2**32'"
    )

    def aborting(task: Task, supervise: Supervisor) -> Report:
        return play(task, supervise, exit_code=-signal.SIGABRT, stderr_tail=tail)

    path = keep(results)
    call("resume", str(path), script=aborting)
    _, out, _ = call("show", str(path), "64x64")
    assert (
        "  remedy: Use a smaller resolution or float16.\n  confidence: high; source: https://github"
        in out
    )
    assert (
        "pytorch/pytorch/issues/143859, https://github.com/invoke-ai/InvokeAI/issues/2624\n" in out
    )


def test_show_of_a_case_that_is_not_there_lists_those_that_are(call: Called, results: Path) -> None:
    path = keep(results)
    code, _, err = call("show", str(path), "999x999")
    assert code == 2
    assert_one_line(err)
    for planned in load_run(path).run.plan.cases:
        assert case_words(planned.case) in err


def test_show_of_a_broken_run_is_one_line_and_exit_code_3(call: Called, results: Path) -> None:
    (keep(results) / "run.json").write_text("{")
    code, out, err = call("show", "latest", "-o", str(results))
    assert (code, out) == (3, "")
    assert_one_line(err)


def test_show_never_obeys_what_a_worker_printed(call: Called, results: Path) -> None:
    def rude(task: Task, supervise: Supervisor) -> Report:
        escape = "\x1b]0;title\x07 [bold]not markup[/nothing]"
        return play(task, supervise, exit_code=-6, stderr_tail=escape)

    path = keep(results, own_run(label="[red]mine[/red]"))
    call("resume", str(path), script=rude)
    _, out, _ = call("show", str(path), "64x64")
    assert "\x1b" not in out
    assert "[bold]not markup[/nothing]" in out
    assert "[red]mine[/red]" in call("show", str(path))[1]


# --- names that nothing can have -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--model", ""], "no model ''"),
        (["run", "--model", "  "], "no model"),
        (["run", "--model", "x" * 5000], "(5,000 characters)"),
        (["localise", "--model", ""], "no model ''"),
        (["doctor", "--model", ""], "no model ''"),
        (["run", "x" * 5000], "(5,000 characters)"),
        (["show", "x" * 5000], "(5,000 characters)"),
        (["run", "--label", "x" * 201], "--label: expected at most 200 characters, got 201"),
    ],
)
def test_impossible_name_is_one_short_line(
    call: Called, arguments: list[str], expected: str
) -> None:
    code, out, err = call(*arguments, script=play)
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert expected in err and len(err) < 550


def test_variable_no_process_can_have_is_refused_before_a_folder_is_made(
    call: Called, results: Path, tmp_path: Path
) -> None:
    """F5 of the review: the folder was made, then a traceback."""
    plan = tmp_path / "plan.toml"
    plan.write_text('[[arm]]\nenv = {"A=B" = "x"}\n')
    code, _, err = call("run", plan, "-o", results, "--yes", script=play)
    assert code == 2
    assert_one_line(err)
    assert not results.exists()


@pytest.mark.usefixtures("tiny")
def test_gate_on_pictures_fails_where_none_could_be_judged(call: Called, results: Path) -> None:
    arguments = small_run(results, "--set", "reference.budget_s=0")
    code, _, err = call(*arguments, "--fail-on", "wrong", script=play)
    assert code == 1
    assert "sdbench: --fail-on wrong: no image could be judged: " in err
    assert call(*arguments, script=play)[0] == 0


def test_question_that_is_answered_no_starts_nothing(
    call: Called, results: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []

    def confirm(text: str, **_: Any) -> bool:
        questions.append(text)
        return False

    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("click.confirm", confirm)
    code, out, err = call("run", "full", "--device", "cpu", "-o", results)
    assert (code, out) == (2, "")
    assert "not started" in err
    (question,) = questions
    assert re.fullmatch(r"Note: it takes .* hours.*\. Continue\?", question)
    assert list_runs(results) == [] and not own_cache.exists()


def test_dry_run_of_a_large_plan_says_how_much_it_leaves_out(
    call: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [f"{64 * number}x64" for number in range(1, 31)]
    monkeypatch.setattr("sdbench.report.terminal.plan_page._SHOWN_PROCESSES", 20)
    path = tmp_path / "large.toml"
    path.write_text(
        'model = "synthetic/tiny"\ndevice = "cpu"\nimages = 1\nreplicates = 3\n'
        f"[matrix]\nresolution = {sizes}\nbatching = ['loop', 'batch']\n"
    )
    code, out, _ = call("run", path, "--dry-run")
    assert code == 0
    order = [line for line in out.splitlines() if re.match(r" +\d+  block ", line)]
    assert "and 70 more processes (all of them: --json)" in out
    merged = [line for line in out.splitlines() if "is a loop of one" in line]
    assert (len(order), len(merged)) == (20, 20)
    assert "and 10 more skipped or merged (--json)" in out
