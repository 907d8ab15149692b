"""The version sets that can be measured: the current environment, or any other interpreter."""

from sdbench.stacks.resolve import find_interpreter, resolve_stack

__all__ = ["find_interpreter", "resolve_stack"]
