"""The folders of this user in which sdbench keeps something of its own."""

import os
from pathlib import Path

import platformdirs

STATE_VARIABLE = "SDBENCH_STATE"


def cache_folder() -> Path:
    """Where models and derived files are kept: ``SDBENCH_CACHE``, else the system's place."""
    own = os.environ.get("SDBENCH_CACHE")
    return Path(own) if own else Path(platformdirs.user_cache_dir("sdbench", appauthor=False))


def state_folder() -> Path:
    """Where sdbench keeps what it must remember: ``SDBENCH_STATE``, else the system's place.

    ``~/.local/state/sdbench`` (or in ``XDG_STATE_HOME``) on Linux,
    ``~/Library/Application Support/sdbench`` on macOS.
    """
    own = os.environ.get(STATE_VARIABLE)
    return Path(own) if own else Path(platformdirs.user_state_dir("sdbench", appauthor=False))
