"""What ``torch.utils.collect_env`` says in an interpreter: what PyTorch's bug reports ask for."""

import subprocess
import tempfile
from pathlib import Path

import sdbench.worker
from sdbench.process.child_environment import child_environment

RUN_PROGRAM = str(Path(sdbench.worker.__file__).absolute().with_name("run_program.py"))
_LIMIT_S = 120.0


def collect_env(interpreter: str) -> str | None:
    """Its output, as it is; None if it does not come to an end there.

    It starts other programs itself (``python -m pip list``), which look into the current folder:
    so that is an empty one.
    """
    try:
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run(
                [interpreter, RUN_PROGRAM, "", "module", "torch.utils.collect_env"],
                cwd=empty,
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LIMIT_S,
                check=True,
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
