"""What each fault does. Every function here is one documented misbehaviour of MPS; README.md has the issues."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch

from . import fault_spec as spec
from .interception import Interceptor, OperatorCall, can_serve
from .passes import PassWatcher

_ASSERTION = (
    "/AppleInternal/Library/BuildRoots/d187755d-b9a3-11ef-83e5-aabfac210453/Library/Caches/com.apple.xbs/"
    "Sources/MetalPerformanceShaders/MPSCore/Types/MPSNDArray.mm:850: failed assertion "
    "`[MPSNDArray initWithDevice:descriptor:isTextureBacked:] Error: total bytes of NDArray > 2**32'\n"
)
_EXCEPTION = "Invalid buffer size: 18.00 GiB"


def apply_faults(
    faults: Sequence[spec.Fault], interceptor: Interceptor, fall_back_to_cpu: bool
) -> list[str]:
    """Arms the faults; returns the operators that are to be missing."""
    effects = _Effects(interceptor)
    missing: list[str] = []
    for fault in faults:
        match fault:
            case spec.FirstPassDiffers():
                effects.first_pass_differs(fault)
            case spec.BatchNoise():
                effects.batch_noise()
            case spec.BatchAbort():
                effects.at_op(spec.AtOp("aten::convolution", "die", when=("batch",)))
            case spec.SlicedNan():
                interceptor.after("aten::baddbmm", _nan_without_beta)
            case spec.NanAfter():
                effects.at_op(spec.AtOp("aten::convolution", "nan", passes=fault.passes))
            case spec.WrongOp():
                operator, when = spec.WRONG_OPS[fault.op]
                effects.at_op(spec.AtOp(operator, "scale", scale=fault.scale, when=when))
            case spec.AtOp():
                effects.at_op(fault)
            case spec.MissingOp():
                missing += _matching(fault.op)
            case spec.MemoryGrowth():
                effects.memory_growth(fault)
            case spec.PressureSlowdown():
                torch.ops.sdbench_standin.set_pressure(fault.above, fault.factor)
            case spec.HangSynchronize():
                effects.hang_synchronize(fault)
            case spec.AsyncError():
                effects.async_error(fault)
    both = sorted(set(missing) & set(interceptor.operators))
    if both:
        raise spec.SettingError(
            f"{spec.VARIABLE}: {both[0]} cannot be missing: another fault works through it"
        )
    torch.ops.sdbench_standin.set_missing(missing, fall_back_to_cpu)
    return missing


class _Effects:
    """The faults that depend on which pass it is, and on how many pictures are in it."""

    def __init__(self, interceptor: Interceptor) -> None:
        self._interceptor = interceptor
        self._watcher: PassWatcher | None = None
        self._grown: list[torch.Tensor] = []

    @property
    def watcher(self) -> PassWatcher:
        # Made when a fault first needs it: watching costs time on four operators.
        if self._watcher is None:
            self._watcher = PassWatcher(self._interceptor)
        return self._watcher

    def first_pass_differs(self, fault: spec.FirstPassDiffers) -> None:
        watcher = self.watcher

        def disturb(call: OperatorCall, result: torch.Tensor) -> None:
            if watcher.number == 1 and watcher.in_unet:
                result.add_(_noise_like(result) * (fault.noise * float(result.float().std())))

        self._interceptor.after("aten::convolution", disturb)

    def batch_noise(self) -> None:
        watcher = self.watcher

        def replace(call: OperatorCall, result: torch.Tensor) -> None:
            if watcher.pictures > 1 and watcher.at_unet_output:
                noise = _noise_like(result)
                for item in range(result.shape[0]):
                    # Under guidance the batch is the pictures twice over.
                    if item % watcher.pictures:
                        result[item] = noise[item]

        self._interceptor.after("aten::convolution", replace)

    def at_op(self, fault: spec.AtOp) -> None:
        holds = self._condition(fault)
        # What raises or ends the process has its words with it; anything else says them once.
        words = None if fault.effect in ("raise", "die") else fault.text

        def act(call: OperatorCall, result: torch.Tensor) -> None:
            nonlocal words
            if holds(call, result):
                if words is not None:
                    os.write(2, words.encode())
                    words = None
                part = result[1:] if fault.items == "rest" and result.dim() else result
                _go_wrong(fault, part)

        operators = [name for name in _matching(fault.op) if can_serve(name)]
        if not operators:
            raise spec.SettingError(
                f"{spec.VARIABLE}: at-op:op={fault.op}: no such operator computes a new tensor from others"
            )
        for operator in operators:
            self._interceptor.after(operator, act)

    def _condition(self, fault: spec.AtOp) -> Callable[[OperatorCall, torch.Tensor], bool]:
        counts = fault.passes > 0 or {"batch", "first-pass"} & set(fault.when)
        watcher = self.watcher if counts else None

        def holds(call: OperatorCall, result: torch.Tensor) -> bool:
            if watcher is not None and (
                watcher.number <= fault.passes
                or ("batch" in fault.when and watcher.pictures < 2)
                or ("first-pass" in fault.when and watcher.number != 1)
            ):
                return False
            operands = call.operands
            return (
                (
                    "noncontiguous" not in fault.when
                    or not all(operand.is_contiguous() for operand in operands)
                )
                and (
                    "channels-last" not in fault.when
                    or any(_is_channels_last(operand) for operand in operands)
                )
                and max(operand.numel() for operand in [*operands, result]) >= fault.elements
            )

        return holds

    def memory_growth(self, fault: spec.MemoryGrowth) -> None:
        def grow(number: int) -> None:
            self._grown.append(torch.zeros(fault.bytes, dtype=torch.uint8, device="mps"))

        self.watcher.at_begin(grow)

    def hang_synchronize(self, fault: spec.HangSynchronize) -> None:
        def hang() -> None:
            torch.ops.sdbench_standin.hang_at_barrier(fault.gil)

        if fault.passes == 0:
            hang()
        else:
            self._in_pass_after(fault.passes, hang)

    def async_error(self, fault: spec.AsyncError) -> None:
        def fail() -> None:
            torch.ops.sdbench_standin.fail_at_barrier(fault.text)

        # Never at import: the work that fails has to have been given to the device first.
        self._in_pass_after(fault.passes, fail)

    def _in_pass_after(self, passes: int, act: Callable[[], None]) -> None:
        def act_once(number: int) -> None:
            if number == passes + 1:
                act()

        self.watcher.at_begin(act_once)


def _noise_like(result: torch.Tensor) -> torch.Tensor:
    # Its own generator: a fault has to be the same in every process, and must not move the user's stream.
    generator = torch.Generator().manual_seed(20221201)
    return torch.randn(result.shape, generator=generator).to(result.dtype)


def _nan_without_beta(call: OperatorCall, result: torch.Tensor) -> None:
    if call.keywords.get("beta", 1) == 0:
        result.fill_(float("nan"))


def _go_wrong(fault: spec.AtOp, result: torch.Tensor) -> None:
    if fault.effect == "die":
        os.write(2, (_ASSERTION if fault.text is None else fault.text).encode())
        os.kill(os.getpid(), signal.Signals[fault.signal])
    elif fault.effect == "raise":
        raise RuntimeError(_EXCEPTION if fault.text is None else fault.text)
    elif not result.is_floating_point():
        return
    elif fault.effect == "scale":
        result.mul_(fault.scale)
    elif fault.effect == "noise":
        result.copy_(_noise_like(result) * float(result.float().std(correction=0)))
    else:
        result.fill_(float("nan") if fault.effect == "nan" else 0.0)


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return (
        tensor.dim() == 4
        and tensor.is_contiguous(memory_format=torch.channels_last)
        and not tensor.is_contiguous()
    )


def _matching(pattern: str) -> list[str]:
    """All operators of the name, whichever overload; raises if torch knows none."""
    found = [
        name
        for name in torch._C._dispatch_get_all_op_names()
        if fnmatchcase(name, pattern) or fnmatchcase(name.partition(".")[0], pattern)
    ]
    if not found:
        raise spec.SettingError(
            f"{spec.VARIABLE}: op={pattern}: torch {torch.__version__} has no such operator"
        )
    return found
