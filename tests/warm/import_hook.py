"""Replaces names of the product's modules right after these were imported."""

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
    sys.meta_path.insert(0, _Hook(replacements))


class _Hook(importlib.abc.MetaPathFinder):
    def __init__(self, replacements: Sequence[Replacement]) -> None:
        self._replacements = replacements

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        chosen = [entry[1:] for entry in self._replacements if entry[0] == fullname]
        if not chosen:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for owner, name, becomes in chosen:
                place = module if owner is None else getattr(module, owner)
                setattr(place, name, becomes(getattr(place, name)))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
