"""The fixed words for outcomes, verdicts, cases and processes. Pure."""

from collections.abc import Sized

from sdbench.records import Case, Content, Correctness, Outcome, Replicate, Run

OUTCOME_WORDS: dict[Outcome, str] = {
    "ok": "ok",
    "failed": "failed",
    "oom": "out of memory",
    "crashed": "crashed",
    "timeout": "exceeded its time limit",
    "guard": "stopped to protect your machine",
    "skipped": "skipped",
}
CORRECT_WORDS: dict[Correctness, str] = {
    "match": "same as CPU",
    "drift": "slightly different",
    "broken": "wrong",
    "unknown": "not checked",
}
CONTENT_WORDS: dict[Content, str] = {"right": "as asked", "wrong": "not as asked"}


def case_words(case: Case) -> str:
    """``512x512 sliced batch float16``: a case as a person would say it."""
    return " ".join([case.resolution, *case.words()])


def row_words(case: Case, arm: str, arms: Sized) -> str:
    """``512x512 sliced float16 [old]``: a case, with its variant where its run has several."""
    return case_words(case) + arm_words(arm, arms)


def arm_words(arm: str, arms: Sized) -> str:
    """`` [old]``, to stand behind a case; nothing where ``arms``, all of its run, are one."""
    return f" [{arm}]" if len(arms) > 1 else ""


def process_words(block: int, planned: int) -> str:
    """``run 2 of 3``: a process of a case as a person counts, where ids count from 0."""
    return f"run {block + 1} of {max(planned, block + 1)}"


def run_number(replicate_id: str) -> str:
    """The number of a process as a person counts: ids end with one that begins at 0."""
    number = replicate_id.rpartition(".")[2]
    return str(int(number) + 1) if number.isdecimal() else replicate_id


def process_name(replicate: Replicate, run: Run) -> str:
    """``512x512 sliced, run 2 of 3``: a process of a run, with its variant where there
    are several."""
    planned = run.plan.processes(replicate.case_id, replicate.arm)
    case = run.plan.planned(replicate.case_id).case
    row = row_words(case, replicate.arm, run.plan.arms)
    return f"{row}, {process_words(replicate.block, planned)}"
