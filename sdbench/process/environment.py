"""The environment a worker gets: the user's own, the variant's on top, and a few safe defaults."""

import os
from collections.abc import Mapping

from sdbench.process.child_environment import child_environment

PRELOAD = "SDBENCH_WORKER_PRELOAD"

# Set only where the user has not: the model is on disk before a worker starts, so a worker has no
# business on the network; unbuffered output survives a crash.
_DEFAULTS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
}


def worker_environment(
    arm: Mapping[str, str], base: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Environment variables of a worker in a variant; PYTHONPATH names absolute folders only."""
    return child_environment({**_DEFAULTS, **base, **arm})


def preload_modules(environment: Mapping[str, str]) -> list[str]:
    """The modules a worker imports first."""
    return [name.strip() for name in environment.get(PRELOAD, "").split(",") if name.strip()]
