"""Makes the MPS API look like an older release's, by taking away the names that release did not have.

The program under test gets copies of the modules with only the release's names. The libraries of the
installed stack keep the real ones: they were written for the installed torch. `torch.__version__` stays
what it is, the version of the kernels that really run.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import ModuleType
from typing import Any, TypeVar

import torch
import torch.random

from .settings import api_by_release

_STACK = {
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "safetensors",
    "huggingface_hub",
    "peft",
}

# Inner modules last: a copy is put where the copy of its parent is looked up.
_MODULES = ("torch.mps", "torch.backends.mps", "torch.accelerator", "torch.accelerator.memory")

T = TypeVar("T")


def show_api_of(release: str) -> None:
    """Hides what ``release`` lacks; it must not be newer than the installed torch."""
    api = api_by_release()[release]
    real = {name: sys.modules[name] for name in _MODULES}
    aged: dict[str, ModuleType | None] = {}
    for name, module in real.items():
        names = api[name]
        if names is None:
            aged[name] = None
        else:
            # Only names that are API in some release are taken away: a module's own imports stay.
            anywhere = {n for other in api_by_release().values() for n in other[name] or ()}
            aged[name] = _copy_without(module, anywhere - set(names))
    for name, copy in aged.items():
        parent, _, attribute = name.rpartition(".")
        if parent in aged:
            # The real parent keeps the real child; nobody but the stack sees that parent.
            _set_or_delete(aged[parent], attribute, copy)
        else:
            _show_instead(sys.modules[parent], attribute, copy)
    sys.modules.update(aged)  # type: ignore[arg-type]  # None is how the import system is told to refuse
    gone = {name: real[name] for name, copy in aged.items() if copy is None}
    if gone:
        _let_torch_seed(gone)
    if release.startswith("2.0."):
        _load_only_when_imported("torch.mps")


def _copy_without(module: ModuleType, hidden: set[str]) -> ModuleType:
    copy = ModuleType(module.__name__, module.__doc__)
    vars(copy).update({name: value for name, value in vars(module).items() if name not in hidden})

    def __getattr__(name: str) -> Any:  # noqa: N807  (PEP 562)
        # `import torch.mps` may bind the copy where the stack finds it, too.
        if name in hidden and _asked_by_stack():
            return getattr(module, name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    copy.__getattr__ = __getattr__  # type: ignore[method-assign]
    return copy


def _set_or_delete(module: ModuleType | None, name: str, value: ModuleType | None) -> None:
    if module is None:
        return
    if value is not None:
        setattr(module, name, value)
    elif name in vars(module):
        delattr(module, name)


def _show_instead(parent: ModuleType, attribute: str, aged: ModuleType | None) -> None:
    """Makes ``parent.attribute`` the real module for the stack and the aged one for everybody else."""
    real = vars(parent).pop(attribute)
    before: Callable[[str], Any] | None = vars(parent).get("__getattr__")

    def __getattr__(name: str) -> Any:  # noqa: N807  (PEP 562)
        if name == attribute:
            if _asked_by_stack():
                return real
            if aged is not None and sys.modules.get(aged.__name__) is aged:
                return aged
        elif before is not None:
            return before(name)
        raise AttributeError(f"module {parent.__name__!r} has no attribute {name!r}")

    parent.__getattr__ = __getattr__  # type: ignore[method-assign]


def _asked_by_stack() -> bool:
    """Whether the nearest caller outside this module is one of the libraries that need the whole API."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _STACK


def _let_torch_seed(gone: Mapping[str, ModuleType]) -> None:
    """torch's seeding imports torch.mps each time: it gets the real one while it runs."""

    def with_modules(function: Callable[..., T]) -> Callable[..., T]:
        @wraps(function)
        def call(*arguments: Any, **keywords: Any) -> T:
            sys.modules.update(gone)
            try:
                return function(*arguments, **keywords)
            finally:
                sys.modules.update(dict.fromkeys(gone))  # type: ignore[arg-type]

        return call

    torch.random._manual_seed_impl = with_modules(torch.random._manual_seed_impl)
    torch.random.seed = torch.seed = with_modules(torch.random.seed)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a module that already exists to the first ``import`` of its name."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module.__name__:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it ran when torch was imported."""


def _load_only_when_imported(name: str) -> None:
    """torch 2.0 had torch.mps, but ``import torch`` did not load it."""
    sys.meta_path.insert(0, _Finder(sys.modules.pop(name)))
