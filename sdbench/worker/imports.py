"""Imports what a run imports, one package after the other, and says of each whether it comes up.

An import that fails deep inside diffusers is wrapped by its lazy modules, several times over; what
is reported is the innermost cause and which module asked for what does not exist. Python 3.8
and later, as everything that examines.
"""

import importlib
import importlib.util
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

if TYPE_CHECKING:
    from .channel import Channel

from .pipelines import STACK_CLASSES

# In the order in which they build on each other, so that the first to fail is the cause.
_PACKAGES = (
    *("numpy", "safetensors", "tokenizers", "huggingface_hub"),
    # Not needed, and imported by those that follow wherever they are installed.
    *("torchvision", "xformers", "bitsandbytes"),
    *("transformers", "accelerate", "peft", "diffusers"),
)
_LONGEST_MESSAGE = 2000
_OPENMP = re.compile(r"lib(?:omp|iomp5|gomp)[^/]*\.(?:dylib|so)[^/]*$")


def examine_imports(channel: "Channel") -> None:
    """Import every package of the environment that is installed, and what a run takes from it."""
    for name in _PACKAGES:
        if not _is_installed(name):
            continue
        channel.send("trying", key="import " + name)
        channel.send("import", name=name, failure=_failure_of(name))
    channel.send("libraries", openmp=openmp_runtimes())


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # ValueError: somebody put a module there without a spec
        return name in sys.modules


def _failure_of(name: str) -> "Optional[Dict[str, Any]]":
    try:
        module = importlib.import_module(name)
        for wanted in STACK_CLASSES.get(name, ()):
            found = getattr(module, wanted)
            # Where a package does not accept another's version, it offers stand-ins that raise.
            if ".dummy_" in getattr(found, "__module__", ""):
                backends = ", ".join(getattr(found, "_backends", [])) or "packages"
                message = "{0}.{1} is a placeholder: {0} does not accept the {2} that is here"
                return {
                    "type": "Placeholder",
                    "message": message.format(name, wanted, backends),
                    "asked_by": name,
                    "through": None,
                }
    except (Exception, SystemExit) as error:
        return describe(error)
    return None


def describe(error: BaseException) -> "Dict[str, Any]":
    """The innermost cause of an exception, the module that met it, and what wrapped it."""
    cause = innermost(error)
    outermost = str(error).strip().splitlines()
    return {
        "type": type(cause).__name__,
        "message": str(cause)[:_LONGEST_MESSAGE],
        "asked_by": _module_that_raised(cause),
        "through": outermost[0][:300] if cause is not error and outermost else None,
    }


def innermost(error: BaseException) -> BaseException:
    """The first exception of a chain.

    What an ``import`` statement in an ``except`` clause raises is a second try and not a wrapping:
    the interpreter gives such an error the name of what was imported.
    """
    seen: List[BaseException] = []
    while error not in seen and len(seen) < 50:
        seen.append(error)
        second_try = isinstance(error, ImportError) and error.name is not None
        if error.__cause__ is not None:
            error = error.__cause__
        elif error.__context__ is not None and not (error.__suppress_context__ or second_try):
            error = error.__context__
    return error


def _module_that_raised(error: BaseException) -> "Optional[str]":
    """The module whose line failed; the import machinery is none, and torch is asked by all."""
    names: List[str] = []
    traceback = error.__traceback__
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__")
        if isinstance(name, str) and not name.startswith("importlib"):
            names.append(name)
        traceback = traceback.tb_next
    own = __name__.split(".")[0]
    others = [name for name in names if name.split(".")[0] != own]
    askers = [name for name in others if name.split(".")[0] != "torch"] or others
    return askers[-1] if askers else None


def openmp_runtimes() -> "List[str]":
    """Files of the OpenMP runtimes that this process has loaded; two of a kind fight."""
    found = {os.path.realpath(path) for path in _loaded_libraries() if _OPENMP.search(path)}
    return sorted(found)[:20]


def _loaded_libraries() -> "Tuple[str, ...]":
    if sys.platform == "darwin":
        import ctypes

        system = ctypes.CDLL(None)
        system._dyld_get_image_name.restype = ctypes.c_char_p
        system._dyld_get_image_name.argtypes = [ctypes.c_uint32]
        names = (system._dyld_get_image_name(at) for at in range(system._dyld_image_count()))
        return tuple(os.fsdecode(name) for name in names if name)
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            return tuple({line.split(None, 5)[-1].strip() for line in file if "/" in line})
    except OSError:
        return ()
