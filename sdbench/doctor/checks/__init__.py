"""The checks of doctor, in the order shown. Each check is a pure function from facts to a verdict.

A check that does not apply to this kind of machine returns None and is omitted.
"""

from collections.abc import Callable, Iterator

from sdbench.doctor.checks import (
    devices,
    imports,
    issues,
    model,
    platform,
    python,
    resources,
    stack,
    variables,
)
from sdbench.doctor.facts import Check, DoctorFacts

CheckFunction = Callable[[DoctorFacts], Check | None]

BEFORE_TORCH: tuple[CheckFunction, ...] = (
    platform.chip,
    platform.macos_version,
    platform.virtual_machine,
    python.python_arch,
    python.python_version,
    imports.wheel_architecture,
    stack.torch_version,
    stack.development_builds,
    stack.stack_compatible,
    resources.memory,
    resources.memory_pressure,
    resources.swap,
    resources.disk,
    resources.power,
    resources.thermal,
    resources.load,
    resources.scheduling,
    resources.gpu,
    variables.environment_variables,
    model.model_files,
    model.model_offline,
)
"""The checks that can run while torch is still being imported."""

WITH_TORCH: tuple[CheckFunction, ...] = (
    devices.torch_imports,
    imports.stack_imports,
    imports.openmp_runtimes,
    devices.torch_threads,
    devices.mps_built,
    devices.mps_available,
    devices.mps_computes,
    devices.cuda_built,
    devices.cuda_available,
    devices.cuda_computes,
    issues.known_issues,
)
"""The checks that need an answer from torch."""


def judge(checks: tuple[CheckFunction, ...], facts: DoctorFacts) -> Iterator[Check]:
    """The verdicts that apply to this machine."""
    for check in checks:
        verdict = check(facts)
        if verdict is not None:
            yield verdict
