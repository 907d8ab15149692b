"""What ``torch.utils.collect_env`` says in an interpreter: what PyTorch's bug reports ask for."""

import subprocess

_LIMIT_S = 120.0


def collect_env(interpreter: str) -> str | None:
    """Its output, as it is; None if it does not come to an end there."""
    try:
        done = subprocess.run(
            [interpreter, "-m", "torch.utils.collect_env"],
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
