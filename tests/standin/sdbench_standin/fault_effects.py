"""What each fault does. Every function here is one documented misbehaviour of MPS; README.md has the issues."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch

from . import fault_spec as spec
from .interception import Interceptor, OperatorCall
from .passes import PassWatcher

_ASSERTION = (
    b"/AppleInternal/Library/BuildRoots/d187755d-b9a3-11ef-83e5-aabfac210453/Library/Caches/com.apple.xbs/"
    b"Sources/MetalPerformanceShaders/MPSCore/Types/MPSNDArray.mm:850: failed assertion "
    b"`[MPSNDArray initWithDevice:descriptor:isTextureBacked:] Error: total bytes of NDArray > 2**32'\n"
)
_COMMAND_BUFFER_ERROR = "MPS command buffer execution failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"


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
                effects.batch_abort()
            case spec.SlicedNan():
                interceptor.after("aten::baddbmm", _nan_without_beta)
            case spec.NanAfter():
                effects.nan_after(fault)
            case spec.WrongOp():
                _wrong_op(interceptor, fault)
            case spec.MissingOp():
                missing += _overloads(fault.op)
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

    def batch_abort(self) -> None:
        watcher = self.watcher

        def abort() -> None:
            if watcher.pictures > 1:
                os.write(2, _ASSERTION)
                os.abort()

        watcher.at_unet(abort)

    def nan_after(self, fault: spec.NanAfter) -> None:
        watcher = self.watcher

        def spoil(call: OperatorCall, result: torch.Tensor) -> None:
            if watcher.number > fault.passes:
                result.fill_(float("nan"))

        self._interceptor.after("aten::convolution", spoil)

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
            torch.ops.sdbench_standin.fail_at_barrier(_COMMAND_BUFFER_ERROR)

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


def _wrong_op(interceptor: Interceptor, fault: spec.WrongOp) -> None:
    def scale(call: OperatorCall, result: torch.Tensor) -> None:
        result.mul_(fault.scale)

    def scale_if_noncontiguous(call: OperatorCall, result: torch.Tensor) -> None:
        operands = call.arguments[:1] if fault.op.startswith("conv2d") else call.arguments[:3]
        if not all(operand.is_contiguous() for operand in operands):
            result.mul_(fault.scale)

    match fault.op:
        case "layer_norm" | "group_norm":
            interceptor.after(f"aten::native_{fault.op}", scale)
        case "softmax":
            interceptor.after("aten::_softmax", scale)
        case "conv2d-noncontiguous":
            interceptor.after("aten::convolution", scale_if_noncontiguous)
        case "sdpa-noncontiguous":
            interceptor.after("aten::scaled_dot_product_attention", scale_if_noncontiguous)


def _overloads(operator: str) -> list[str]:
    """All overloads of a name given without one; raises if torch knows no such operator."""
    known = torch._C._dispatch_get_all_op_names()
    found = [name for name in known if name == operator or name.partition(".")[0] == operator]
    if not found:
        raise spec.SettingError(
            f"{spec.VARIABLE}: missing-op:op={operator}: torch {torch.__version__} has no such operator"
        )
    return found
