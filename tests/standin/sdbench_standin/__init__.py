"""A stand-in for PyTorch's ``mps`` device, for machines that are not Macs.

Importing the package installs the device in the process: tensors say ``mps:0``, torch's CPU kernels
do the work, and the faults that ``SDBENCH_STANDIN_FAULT`` names go wrong on purpose. It has to be the
first thing a process imports, because some of what it reads and sets counts only before torch is used.
See README.md beside the package.
"""

from __future__ import annotations

import os

from .settings import Settings, read_settings

SDBENCH_SIMULATED = True
"""Says that nothing measured in this process is a measurement of a Mac."""

if os.environ.get("SDBENCH_STANDIN_PREPARE_ONLY"):
    # For a server whose forks import the package anew: the device is there before diffusers is imported.
    from .native import prepare

    prepare()
else:
    # Read before torch is imported: a mistake in the settings is reported in milliseconds.
    settings: Settings = read_settings(os.environ)

    from .install import install  # (imports torch)

    install(settings)
