"""sdbench: is this machine set up right for Stable Diffusion, how fast, how right, which settings?

Importing the package is cheap on purpose: the worker and ``sdbench --help`` rely on it.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
