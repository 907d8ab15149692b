"""``python -m sdbench``."""

from sdbench.cli import entry

entry()
