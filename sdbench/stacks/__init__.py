"""What can be measured: the current environment, version sets made here, any other interpreter."""

from sdbench.stacks.resolve import find_interpreter, resolve_stack

__all__ = ["find_interpreter", "resolve_stack"]
