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
from torch.utils._pytree import tree_map_only


def host_view(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of an MPS tensor as a CPU tensor; writing to one writes to both. Waits for nothing."""
    view: torch.Tensor = torch.ops.sdbench_standin.host(tensor)
    return view


@dataclass(frozen=True)
class OperatorCall:
    """One call, with its operands still on the device."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


Before: TypeAlias = Callable[[OperatorCall], None]
After: TypeAlias = Callable[[OperatorCall, torch.Tensor], None]
"""Changes the result in place, through a CPU tensor that is its memory; for several results, the first."""

# Its kernels live as long as it does: as long as the process.
_LIBRARY = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]


class Interceptor:
    """Collects who wants to see which operator, then registers one kernel for each.

    It can serve operators that compute new tensors; not views, in-place or ``out=`` forms.
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
        name, _, overload_name = operator.removeprefix("aten::").partition(".")
        overload = getattr(getattr(torch.ops.aten, name), overload_name or "default")
        before, after = self._before[operator], self._after[operator]

        def kernel(*arguments: Any, **keywords: Any) -> Any:
            call = OperatorCall(arguments, keywords)
            for observe in before:
                observe(call)
            with torch._C._AutoDispatchBelowAutograd():
                result = overload(*_to_host(arguments), **_to_host(keywords))
            first = result[0] if isinstance(result, tuple) else result
            for change in after:
                change(call, first)
            return tree_map_only(torch.Tensor, torch.ops.sdbench_standin.device, result)

        return kernel


def _to_host(values: Any) -> Any:
    return tree_map_only(
        torch.Tensor, lambda t: host_view(t) if t.device.type == "mps" else t, values
    )
