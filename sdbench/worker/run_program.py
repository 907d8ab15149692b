"""Runs a program in the interpreter it is started by, without the current folder on ``sys.path``.

``python <path of this file> PRELOADS module NAME`` or ``... PRELOADS script PATH ARGUMENT...``;
PRELOADS is a list with commas, or empty. Python's own ``-m`` and ``-c`` put the current folder
first on ``sys.path``, where a folder called ``torch`` would be executed in torch's place.
"""

import os
import sys


def main() -> None:
    """Import the preloads, then be the program."""
    here = os.path.dirname(os.path.abspath(__file__))
    # Python puts a script's folder on the path; our module names must not shadow others'.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    import importlib
    import resource
    import runpy

    # A death must not leave gigabytes of core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    preloads, kind, program = sys.argv[1:4]
    del sys.argv[:3]
    for name in filter(None, preloads.split(",")):
        importlib.import_module(name)
    if kind == "module":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
