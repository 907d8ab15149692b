"""What of the user's environment a child may get: PYTHONPATH without the current folder.

An empty entry of ``PYTHONPATH`` (a colon too many) means the current folder of whatever reads it,
so a folder called ``torch`` that lies there would be imported in torch's place.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_PATH = "PYTHONPATH"


def child_environment(
    environment: Mapping[str, str] = os.environ, folder: Path | None = None
) -> dict[str, str]:
    """The environment with relative entries of ``PYTHONPATH`` made absolute, empty ones left out.

    ``folder`` is what they are relative to: by default where sdbench was started.
    """
    child = dict(environment)
    if _PATH in child:
        base = folder or Path.cwd()
        entries = [str(base / entry) for entry in child[_PATH].split(os.pathsep) if entry]
        child[_PATH] = os.pathsep.join(entries)
    return child
