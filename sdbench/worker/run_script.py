"""Runs a standalone script after the preloads of the run that it was written from.

    python run_script.py PRELOADS SCRIPT [ARGUMENT ...]

``PRELOADS`` are the names of modules, separated by commas. The script itself knows nothing of a
stand-in device; a death of it must not leave gigabytes of core file.
"""

import importlib
import resource
import runpy
import sys


def main() -> None:
    """Import the preloads, then become the script."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    sys.path.pop(0)  # this folder: its modules are not the script's
    preloads, path = sys.argv[1:3]
    del sys.argv[:2]
    for name in filter(None, preloads.split(",")):
        importlib.import_module(name)
    runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    main()
