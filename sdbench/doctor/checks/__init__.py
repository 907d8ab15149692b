"""What doctor judges, in the order it is shown. Each check is pure: facts in, a verdict out.

A check that belongs to another kind of machine gives None and is left out.
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
"""What can be judged while torch is still being imported."""

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
"""What torch has to be asked for."""


def judge(checks: tuple[CheckFunction, ...], facts: DoctorFacts) -> Iterator[Check]:
    """The verdicts that belong to this machine."""
    for check in checks:
        verdict = check(facts)
        if verdict is not None:
            yield verdict
