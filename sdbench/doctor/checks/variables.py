"""Environment variables that change what torch and diffusers do."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts, Status
from sdbench.knowledge.memory_limits import HIGH, LOW, check_watermarks, removes_memory_limit
from sdbench.machine.facts import known


def _is_on(value: str) -> bool:
    return value.strip().lower() not in ("", "0", "false", "no", "off")


class Variable(NamedTuple):
    """A variable that is worth a remark when it is set so."""

    name: str
    effect: str
    on_macs: bool
    elsewhere: bool
    matters: Callable[[str], bool] = _is_on


_VARIABLES = (
    Variable(
        "PYTORCH_ENABLE_MPS_FALLBACK",
        "operators that mps lacks run on the CPU, slowly and with one warning only",
        True,
        False,
    ),
    Variable("PYTORCH_MPS_FAST_MATH", "mps computes faster and less exactly", True, False),
    Variable("PYTORCH_MPS_PREFER_METAL", "other kernels multiply matrices", True, False),
    Variable("PYTORCH_MPS_DISABLE_PREFILL_ATTENTION", "older kernels do attention", True, False),
    Variable(
        "KMP_DUPLICATE_LIB_OK",
        "two OpenMP runtimes in one process are let pass, which can crash it or give wrong numbers",
        True,
        True,
    ),
    Variable("MTL_DEBUG_LAYER", "Metal checks every call: slow, and it aborts sooner", True, False),
    Variable("MTL_SHADER_VALIDATION", "Metal checks every memory access, slowly", True, False),
    Variable(
        "DYLD_INSERT_LIBRARIES",
        "a library of somebody else's is put into every process",
        True,
        False,
        lambda value: bool(value.strip()),
    ),
    Variable("CUDA_LAUNCH_BLOCKING", "every kernel is waited for, so the GPU idles", False, True),
    Variable("PYTORCH_NO_CUDA_MEMORY_CACHING", "memory is asked for anew each time", False, True),
    Variable(
        "CUDA_VISIBLE_DEVICES",
        "torch sees no GPU",
        False,
        True,
        lambda value: value.strip() in ("", "-1"),
    ),
    Variable("TRANSFORMERS_NO_TORCH", "transformers works without torch", True, True),
    Variable("USE_TORCH", "transformers works without torch", True, True, lambda v: not _is_on(v)),
)


def environment_variables(facts: DoctorFacts) -> Check | None:
    """Limits that contradict each other fail; what changes speed or images is a remark."""
    variables = facts.environment
    remarks = dict(_remarks(facts, variables))
    question = Question(
        "environment-variables",
        "none that changes speed or images, or that torch refuses",
        "what is set here reaches every run started from this terminal, and its results differ "
        "from everybody else's",
    )
    problem = check_watermarks(variables) if facts.is_mac else None
    problems = [problem] if problem is not None else []
    names = [name for name in (HIGH, LOW) if problems and name in variables]
    for name, effect in remarks.items():
        if name not in names:
            names.append(name)
            problems.append(f"{name}={variables[name]}: {effect}")
    if not problems:
        return question.passes("none set that matters")
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
