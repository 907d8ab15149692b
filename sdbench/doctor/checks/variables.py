"""Checks environment variables that change the behaviour of torch and diffusers."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts, Status
from sdbench.knowledge.memory_limits import HIGH, LOW, check_watermarks, removes_memory_limit
from sdbench.machine.facts import known


def _is_on(value: str) -> bool:
    return value.strip().lower() not in ("", "0", "false", "no", "off")


class Variable(NamedTuple):
    """A variable that gets a remark if it has this value."""

    name: str
    effect: str
    on_macs: bool
    elsewhere: bool
    matters: Callable[[str], bool] = _is_on


_VARIABLES = (
    Variable(
        "PYTORCH_ENABLE_MPS_FALLBACK",
        "operators that mps does not implement run on the CPU, slowly and with only one warning",
        True,
        False,
    ),
    Variable("PYTORCH_MPS_FAST_MATH", "mps computes faster and less accurately", True, False),
    Variable("PYTORCH_MPS_PREFER_METAL", "matrix products use different kernels", True, False),
    Variable("PYTORCH_MPS_DISABLE_PREFILL_ATTENTION", "attention uses older kernels", True, False),
    Variable(
        "KMP_DUPLICATE_LIB_OK",
        "two OpenMP runtimes are tolerated in one process, which can crash it or give wrong "
        "results",
        True,
        True,
    ),
    Variable(
        "MTL_DEBUG_LAYER",
        "Metal checks every call, which is slow and aborts at errors that are otherwise ignored",
        True,
        False,
    ),
    Variable(
        "MTL_SHADER_VALIDATION", "Metal checks every memory access, which is slow", True, False
    ),
    Variable(
        "DYLD_INSERT_LIBRARIES",
        "a third-party library is loaded into every process",
        True,
        False,
        lambda value: bool(value.strip()),
    ),
    Variable(
        "CUDA_LAUNCH_BLOCKING",
        "torch waits for every kernel, so the GPU is partly idle",
        False,
        True,
    ),
    Variable("PYTORCH_NO_CUDA_MEMORY_CACHING", "memory is allocated anew each time", False, True),
    Variable(
        "CUDA_VISIBLE_DEVICES",
        "torch does not see a GPU",
        False,
        True,
        lambda value: value.strip() in ("", "-1"),
    ),
    Variable("TRANSFORMERS_NO_TORCH", "transformers works without torch", True, True),
    Variable("USE_TORCH", "transformers works without torch", True, True, lambda v: not _is_on(v)),
)


def environment_variables(facts: DoctorFacts) -> Check | None:
    """Contradictory memory limits fail; variables that change speed or images give a remark."""
    variables = facts.environment
    remarks = dict(_remarks(facts, variables))
    question = Question(
        "environment-variables",
        "no variable that changes speed or images, or that torch refuses",
        "these variables apply to every run started from this terminal, so its results differ "
        "from other people's",
    )
    problem = check_watermarks(variables) if facts.is_mac else None
    problems = [problem] if problem is not None else []
    names = [name for name in (HIGH, LOW) if problems and name in variables]
    for name, effect in remarks.items():
        if name not in names:
            names.append(name)
            problems.append(f"{name}={variables[name]}: {effect}")
    if not problems:
        return question.passes("no such variable is set")
    status: Status = "warn" if problem is None else "fail"
    return question.answered(status, "; ".join(problems), f"unset {' '.join(names)}")


def _remarks(facts: DoctorFacts, variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if facts.is_mac and removes_memory_limit(variables):
        yield HIGH, "no memory limit, which can freeze the whole machine (sdbench run refuses it)"
    for variable in _VARIABLES:
        here = variable.on_macs if facts.is_mac else variable.elsewhere
        value = variables.get(variable.name)
        if here and value is not None and variable.matters(value):
            yield variable.name, variable.effect
    threads, cores = variables.get("OMP_NUM_THREADS", ""), facts.machine.identity.cores_physical
    if facts.expected_device() == "cpu" and threads.isdigit() and known(cores):
        usable = min(cores, facts.limits.cpus or cores)
        if int(threads) < usable:
            yield "OMP_NUM_THREADS", f"torch uses {threads} of {usable:g} cores"
