"""The text of a bug report: what was run, what happened, where, and nothing private."""

from typing import Any

import msgspec
from factories import make_config, make_pass, make_picture, make_replicate, make_run

from sdbench.records import Arm, FailureCause, PlannedCase, Replicate, Run
from sdbench.repro.issue import issue_text

RUN = make_run(make_config())


def text(*attempts: Replicate, simulated: bool = False, run: Run = RUN, **planned: Any) -> str:
    case = msgspec.structs.replace(run.plan.cases[0], **planned)
    return issue_text(run, case, Arm(), list(attempts), simulated=simulated)


def test_environment_is_no_output_where_it_could_not_be_had() -> None:
    assert "`environment.txt` is the output of" in text(make_replicate())
    case = RUN.plan.cases[0]
    written = issue_text(
        RUN, case, Arm(), [make_replicate()], simulated=False, has_environment=False
    )
    assert "environment.txt" not in written
    assert "Add the output of `python -m torch.utils.collect_env`" in written


def test_healthy_case_has_its_figures() -> None:
    told = text(make_replicate(times=(2.5, 1.25)))
    assert told.startswith("# cpu: Stable Diffusion, 64x64: every process completed\n")
    assert "| 1 | ok | 2 | 2.5 s | 1.25 s |" in told and "finite, not black" in told
    assert "SIMULATED" not in told


def test_simulated_says_so_first() -> None:
    assert text(make_replicate(), simulated=True).splitlines()[2].startswith("> **SIMULATED**")


def test_crash_has_signal_cause_and_last_words() -> None:
    cause = FailureCause(kind="metal", sentence="Metal refused it.", remedy="Less.")
    told = text(
        make_replicate(
            times=(),
            outcome="crashed",
            reason="ended by SIGABRT in pass 1",
            cause=cause,
            stderr_tail="line one\n\x1b[31m`failed assertion`\n",
        )
    )
    assert "crashed" in told.splitlines()[0]
    assert "Process 1: ended by SIGABRT in pass 1." in told and "Metal refused it." in told
    assert "````text\nline one\n\\x1b[31m`failed assertion`\n````" in told


def test_wrong_pictures_are_named() -> None:
    passes = [make_pass(images=[make_picture(nan_count=1)])]
    told = text(make_replicate(passes=passes))
    assert told.startswith("# cpu: Stable Diffusion, 64x64: images are not-a-number\n")
    assert "| not-a-number |" in told


def test_case_never_run_says_why() -> None:
    assert "Nothing: cannot be offloaded." in text(skip_reason="cannot be offloaded")
    assert "Nothing: this case has not been run in this run." in text()


def test_known_issues_come_with_their_links() -> None:
    flag = "black images (https://github.com/pytorch/pytorch/issues/1)"
    assert f"- {flag}\n" in text(make_replicate(), flags=[flag])
    assert "Known issues" not in text(make_replicate())


def test_variables_of_the_machines_own_business_are_left_out() -> None:
    run = msgspec.structs.replace(
        RUN, environment={"PYTORCH_MPS_FAST_MATH": "1", "SDBENCH_CACHE": "/somewhere"}
    )
    told = text(make_replicate(), run=run)
    assert "`PYTORCH_MPS_FAST_MATH=1`" in told and "somewhere" not in told


def test_planned_case_is_named_by_its_id() -> None:
    planned = PlannedCase(case=RUN.plan.cases[0].case)
    assert f"`{planned.case_id}`" in text(make_replicate())
