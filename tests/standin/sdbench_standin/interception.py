"""Lets Python see, and change, single operator calls on the device.

Only operators that a fault needs are intercepted; all others never enter Python, so that the timing of
a healthy stand-in is that of the CPU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.utils._pytree import tree_leaves, tree_map_only


def host_view(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of an MPS tensor as a CPU tensor; writing to one writes to both. Waits for nothing."""
    view: torch.Tensor = torch.ops.sdbench_standin.host(tensor)
    return view


@dataclass(frozen=True)
class OperatorCall:
    """One call, with its operands still on the device."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    @property
    def operands(self) -> list[torch.Tensor]:
        """Every tensor among the arguments."""
        return [
            v for v in tree_leaves((self.arguments, self.keywords)) if isinstance(v, torch.Tensor)
        ]


Before: TypeAlias = Callable[[OperatorCall], None]
After: TypeAlias = Callable[[OperatorCall, torch.Tensor], None]
"""Changes the result in place, through a CPU tensor that is its memory; for several results, the first."""

# Products in half precision go through float32, as on Metal; csrc/device.cpp says why. The last two are
# intercepted at most: else they are decomposed before they reach the device.
IN_FLOAT32 = (
    "aten::addmm",
    "aten::addmv",
    "aten::baddbmm",
    "aten::bmm",
    "aten::convolution",
    "aten::mm",
    "aten::mv",
    "aten::scaled_dot_product_attention",
    "aten::linear",
    "aten::matmul",
)

# Its kernels live as long as it does: as long as the process.
_LIBRARY = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]


def can_serve(operator: str) -> bool:
    """Whether an operator can be intercepted: it computes a new tensor from others.

    Views, in-place and ``out=`` forms do not, and neither do those that make or move tensors.
    """
    schema = _overload(operator)._schema
    takes = [str(argument.type) for argument in schema.arguments]
    return (
        any(kind in ("Tensor", "List[Tensor]") for kind in takes)
        and not any("Device" in kind or "Generator" in kind for kind in takes)
        and not any(value.alias_info for value in (*schema.arguments, *schema.returns))
        and [str(value.type) for value in schema.returns][:1] == ["Tensor"]
    )


def _overload(operator: str) -> Any:
    name, _, overload_name = operator.removeprefix("aten::").partition(".")
    return getattr(getattr(torch.ops.aten, name), overload_name or "default")


class Interceptor:
    """Collects who wants to see which operator, then registers one kernel for each.

    It serves the operators of which :func:`can_serve` is true.
    """

    def __init__(self) -> None:
        self._before: dict[str, list[Before]] = defaultdict(list)
        self._after: dict[str, list[After]] = defaultdict(list)

    def before(self, operator: str, observe: Before) -> None:
        """Calls ``observe`` before each call of ``operator``."""
        self._before[operator].append(observe)

    def after(self, operator: str, change: After) -> None:
        """Calls ``change`` with the result of each call of ``operator``."""
        self._after[operator].append(change)

    @property
    def operators(self) -> list[str]:
        """The operators that get their kernel from here."""
        return sorted({*self._before, *self._after})

    def register(self) -> None:
        """Registers the kernels; to be called once, when everyone has asked."""
        for operator in self.operators:
            name = operator.removeprefix("aten::")
            _LIBRARY.impl(name, self._kernel(operator), "MPS")  # type: ignore[no-untyped-call]

    def _kernel(self, operator: str) -> Callable[..., Any]:
        overload = _overload(operator)
        before, after = self._before[operator], self._after[operator]
        in_float32 = operator in IN_FLOAT32

        def kernel(*arguments: Any, **keywords: Any) -> Any:
            call = OperatorCall(arguments, keywords)
            for observe in before:
                observe(call)
            operands = tree_map_only(torch.Tensor, _to_host, (arguments, keywords))
            half = _half_type(operands) if in_float32 else None
            with torch._C._AutoDispatchBelowAutograd():
                if half is not None:
                    operands = tree_map_only(torch.Tensor, _widened, operands)
                result = overload(*operands[0], **operands[1])
                if half is not None:
                    result = result.to(half)
                elif any(result is operand for operand in tree_leaves(operands)):
                    result = result.clone()  # nothing to do, as dropout has when it is off
            first = result[0] if isinstance(result, tuple) else result
            for change in after:
                change(call, first)
            return tree_map_only(torch.Tensor, torch.ops.sdbench_standin.device, result)

        return kernel


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    return host_view(tensor) if tensor.device.type == "mps" else tensor


def _half_type(operands: Any) -> torch.dtype | None:
    """The type of the floating operands if all are in the same half precision."""
    tensors = [t for t in tree_leaves(operands) if isinstance(t, torch.Tensor)]
    types = {t.dtype for t in tensors if t.is_floating_point()}
    return types.pop() if types in ({torch.float16}, {torch.bfloat16}) else None


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
