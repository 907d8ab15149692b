"""What may have rounded a process's results more than float32 does."""

from typing import Any

import pytest
from factories import make_config, make_replicate, make_run

from sdbench.correctness.arithmetic import arithmetic_of

AMPERE = {"capability": "8.0"}


@pytest.mark.parametrize(
    ("dtype", "device", "facts", "environment", "expected"),
    [
        ("float16", "mps", {}, {}, "float16"),
        ("bfloat16", "cuda", AMPERE, {}, "bfloat16"),
        ("float32", "cuda", AMPERE, {}, "tf32"),
        ("float32", "cuda", {"capability": "9.0"}, {"NVIDIA_TF32_OVERRIDE": "1"}, "tf32"),
        ("float32", "cuda", {**AMPERE, "tf32_matrix_products": True}, {}, "tf32-linear"),
        ("float32", "cuda", {**AMPERE, "tf32_matrix_products": False}, {}, "tf32"),
        ("float32", "cuda", {**AMPERE, "tf32_convolutions": False}, {}, None),
        ("float32", "cuda", {**AMPERE, "tf32_convolutions": None}, {}, "tf32"),
        ("float32", "cuda", AMPERE, {"NVIDIA_TF32_OVERRIDE": "0"}, None),
        ("float32", "cuda", {"capability": "7.5"}, {}, None),
        ("float32", "cuda", {"capability": "of old"}, {}, None),
        ("float32", "cuda", {}, {}, None),
        ("float32", "mps", AMPERE, {}, None),
        ("float32", "cpu", {}, {}, None),
    ],
)
def test_float32_may_be_tf32_on_nvidias_gpus_alone(
    dtype: str, device: Any, facts: dict[str, Any], environment: dict[str, str], expected: str
) -> None:
    run = make_run(make_config(case=[{"dtype": dtype}]), device=device, environment=environment)
    (slot, *_) = run.plan.slots
    replicate = make_replicate(slot, device={"kind": device, "facts": facts})
    assert arithmetic_of(run, replicate, run.plan.planned(slot.case_id).case) == expected
