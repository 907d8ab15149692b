"""The version sets that can be measured: the current environment, or any other interpreter."""

from sdbench.stacks.resolve import resolve_stack

__all__ = ["resolve_stack"]
