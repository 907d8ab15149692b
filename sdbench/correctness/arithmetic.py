"""In which arithmetic a device may have rounded what it made: its data type's, or TF32."""

import re

from sdbench.records import Arithmetic, Case, Dtype, OwnRounding, Replicate, Run

NO_TF32 = "NVIDIA_TF32_OVERRIDE"
# NVIDIA GPUs from compute capability 8.0 on multiply float32 in TF32 where torch lets them: by
# default in convolutions, and not in matrix products.
_TF32_SINCE = (8, 0)


def arithmetic_of(run: Run, replicate: Replicate, case: Case) -> Arithmetic | None:
    """What may have rounded a process's results more than float32 does; None: nothing."""
    return own_arithmetic(case.dtype) or _tf32_of(run, replicate)


def own_arithmetic(dtype: Dtype) -> Arithmetic | None:
    """How a data type rounds by itself; None for float32, which everything is compared with."""
    return None if dtype == "float32" else dtype


def is_tf32(made: OwnRounding | None) -> bool:
    """Whether an image was made on the CPU as TF32 rounds float32."""
    return made is not None and made.arithmetic in ("tf32", "tf32-linear")


def _tf32_of(run: Run, replicate: Replicate) -> Arithmetic | None:
    """TF32, where float32 products may have been rounded to it on the device."""
    facts = replicate.device.get("facts", {})
    capability = re.fullmatch(r"(\d+)\.(\d+)", str(facts.get("capability") or ""))
    if run.device != "cuda" or capability is None:
        return None
    if (int(capability[1]), int(capability[2])) < _TF32_SINCE:
        return None
    if run.variables(run.plan.arm(replicate.arm)).get(NO_TF32) == "0":
        return None
    if facts.get("tf32_matrix_products") is True:
        return "tf32-linear"
    return None if facts.get("tf32_convolutions") is False else "tf32"
