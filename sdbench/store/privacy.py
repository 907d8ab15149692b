"""What must never reach a result file: tokens, user names, home folders."""

import getpass
import os
import re
from collections.abc import Mapping
from pathlib import Path

_TOKEN = re.compile(r"\b(?:hf|api_org|sk|ghp|gho|github_pat)[_-][A-Za-z0-9_-]{16,}\b")
_RECORDED = re.compile(
    r"(?:PYTORCH|SDBENCH|HF_HUB|CUDA|OMP|MKL|OPENBLAS|VECLIB|TRANSFORMERS|DIFFUSERS|ACCELERATE)_\w+"
)
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST_NAME = 3  # a shorter user name would blank out parts of ordinary words


def redact(text: str) -> str:
    """The text with home folders as ``~``, the user's name and access tokens replaced."""
    text = _TOKEN.sub("<token>", text)
    home = str(Path.home())
    if home not in ("/", ""):
        text = text.replace(home, "~")
    text = re.sub(r"/(Users|home)/[^/\s:'\"]+", r"/\1/<user>", text)
    name = _user_name()
    if name is not None:
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "<user>", text)
    return text


def recorded_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that change how torch and diffusers behave, without secrets."""
    return {
        name: redact(value)
        for name, value in sorted(environment.items())
        if _RECORDED.fullmatch(name) and not _SECRET.search(name)
    }


def _user_name() -> str | None:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # no entry for this user id, as in some containers
        return None
    # "root" is nobody's name, and a word of its own in many messages.
    return name if len(name) >= _SHORTEST_NAME and os.getuid() != 0 else None
