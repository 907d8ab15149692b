"""sdbench: is this machine set up right for Stable Diffusion, how fast, how right, which settings?

Importing the package is cheap on purpose: the worker and ``sdbench --help`` rely on it. In a
notebook, ``sdbench.load("latest")`` gives a run as pandas frames.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdbench.analysis.data_frames import load

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``load`` when it is first asked for."""
    if name == "load":
        from sdbench.analysis.data_frames import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "load"})
