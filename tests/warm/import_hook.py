"""Replaces names of the product's modules, as soon as these are imported."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Replacement = tuple[str, str | None, str, Callable[[Any], Any]]
"""Module, class that owns the name (or None), the name, and what becomes of its value."""


def replace_after_import(replacements: Sequence[Replacement]) -> None:
    """From here on, in this process and in those that it forks."""
    for module in {entry[0] for entry in replacements} & sys.modules.keys():
        _replace(sys.modules[module], replacements)
    sys.meta_path.insert(0, _Hook(replacements))


def _replace(module: ModuleType, replacements: Sequence[Replacement]) -> None:
    for _, owner, name, becomes in (one for one in replacements if one[0] == module.__name__):
        place = module if owner is None else getattr(module, owner)
        setattr(place, name, becomes(getattr(place, name)))


class _Hook(importlib.abc.MetaPathFinder):
    def __init__(self, replacements: Sequence[Replacement]) -> None:
        self._replacements = replacements

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in {entry[0] for entry in self._replacements}:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _replace(module, self._replacements)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
