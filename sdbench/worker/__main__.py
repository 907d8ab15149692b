"""``python <this folder> --events FD --lifeline FD [--serve FD]``: start a worker by path.

The folder registers itself as the package ``sdbench_worker``, so the interpreter being measured
needs no sdbench installation and none of the parent's site-packages reach its ``sys.path``.
"""

import importlib.util
import os
import sys


def register_package() -> None:
    """Make this folder importable as ``sdbench_worker`` without leaving it on ``sys.path``."""
    here = os.path.dirname(os.path.abspath(__file__))
    # Python puts the folder it runs first on the path; our module names must not shadow others'.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    spec = importlib.util.spec_from_file_location(
        "sdbench_worker",
        os.path.join(here, "__init__.py"),
        submodule_search_locations=[here],
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["sdbench_worker"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    register_package()
    main = importlib.import_module("sdbench_worker.main").main
    main(sys.argv[1:])
