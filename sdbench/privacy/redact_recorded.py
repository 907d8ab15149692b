"""What must never reach a result file: tokens, user names, home folders.

Two ways. Free text (what a worker wrote) is *redacted*, which cannot be undone. What a resume
needs again (paths, a variant's variables) is *hidden* so that the same user can show it again: the
home folder as ``~`` or ``<home>``, the user's name as ``<user>``, secrets as ``<secret>``, which
the environment must then hold.
"""

import functools
import getpass
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from sdbench.errors import MachineError
from sdbench.records import Run
from sdbench.runs.free_text import map_texts
from sdbench.runs.secrets import SECRET, holds_secret, is_secret_name, without_secrets

_RECORDED = re.compile(
    r"(?:PYTORCH|SDBENCH|HF_HUB|CUDA|OMP|MKL|OPENBLAS|VECLIB|TRANSFORMERS|DIFFUSERS|ACCELERATE)_\w+"
    r"|NVIDIA_TF32_OVERRIDE"
)
_SHORTEST_NAME = 3  # a shorter user name would blank out parts of ordinary words
_HOME, _USER = "<home>", "<user>"
_S = TypeVar("_S", bound=msgspec.Struct)


def redact(text: str) -> str:
    """Free text without secrets, anybody's home folder and the user's name; always valid UTF-8."""
    text = text.encode("utf-8", "replace").decode()
    text = hide_path(without_secrets(text)).replace(_HOME, "~")
    return re.sub(r"/(Users|home)/[^/\s:'\"]+", rf"/\1/{_USER}", text)


def redacted(record: _S) -> _S:
    """A record for a text that is published, each free text in it as :func:`redacted_text`."""
    return map_texts(record, redacted_text)


def redacted_text(text: str) -> str:
    """Free text for what is published: redacted, and without this computer's name."""
    return hide_host(redact(text))


def hide_path(text: str) -> str:
    """Text without the home folder and the user's name; :func:`show_path` undoes it."""
    home = str(Path.home())
    if home not in ("/", ""):
        text = re.sub(rf"{re.escape(home)}(?![A-Za-z0-9._-])", _HOME, text)
        if text.startswith(_HOME):
            text = text.replace(_HOME, "~", 1)
    name = _user_name()
    if name is not None:
        text = re.sub(rf"(?<![A-Za-z0-9<]){re.escape(name)}(?![A-Za-z0-9])", _USER, text)
    return text


def show_path(text: str) -> str:
    """The text that :func:`hide_path` hid, for the same user."""
    name = _user_name()
    if name is not None:
        text = text.replace(_USER, name)
    text = text.replace(_HOME, str(Path.home()))
    return os.path.expanduser(text) if text.startswith("~") else text


def hide_host(text: str) -> str:
    """Text without this computer's name, which is often its owner's."""
    full = platform.node()
    for name in (full, full.split(".")[0]):
        if len(name) >= _SHORTEST_NAME and name != "localhost":
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "<host>", text)
    return text


def recorded_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that change how torch and diffusers behave, without secrets."""
    return {
        name: redact(value)
        for name, value in sorted(environment.items())
        if _RECORDED.fullmatch(name) and not is_secret_name(name)
    }


def hidden_run(run: Run) -> Run:
    """The run as it may be written down."""
    return _translated(run, hide_path, [_hidden_variables(arm.env) for arm in run.plan.arms])


def shown_run(run: Run) -> Run:
    """A run read back, with the real paths and variables its workers need.

    Raises:
        MachineError: a secret variable of a variant is no longer in the environment.
    """
    variables = [_shown_variables(arm.name, arm.env) for arm in run.plan.arms]
    return _translated(run, show_path, variables)


def _translated(run: Run, path: Callable[[str], str], variables: Sequence[dict[str, str]]) -> Run:
    """The run with each path translated and each variant's variables replaced."""
    arms = [
        msgspec.structs.replace(arm, stack=path(arm.stack), env=env)
        for arm, env in zip(run.plan.arms, variables, strict=True)
    ]
    stacks = {
        path(name): msgspec.structs.replace(stack, interpreter=path(stack.interpreter))
        for name, stack in run.stacks.items()
    }
    loras = [msgspec.structs.replace(lora, path=path(lora.path)) for lora in run.model.loras]
    model = msgspec.structs.replace(
        run.model,
        name=path(run.model.name),
        path=path(run.model.path),
        loras=loras,
        file=None if run.model.file is None else path(run.model.file),
    )
    config = {
        **run.config,
        "model": path(str(run.config["model"])),
        "lora": [path(str(lora)) for lora in run.config.get("lora", [])],
        **({"parts": path(str(run.config["parts"]))} if "parts" in run.config else {}),
        "arm": msgspec.to_builtins(arms),
    }
    plan = msgspec.structs.replace(run.plan, arms=arms)
    return msgspec.structs.replace(run, plan=plan, stacks=stacks, model=model, config=config)


def _hidden_variables(variables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: SECRET if is_secret_name(name) or holds_secret(value) else hide_path(value)
        for name, value in variables.items()
    }


def _shown_variables(arm: str, variables: Mapping[str, str]) -> dict[str, str]:
    shown = {}
    for name, value in variables.items():
        if value == SECRET and name not in os.environ:
            raise MachineError(
                f"variant {arm} was given {name}, which is not written down because it is a "
                "secret: set it in the environment to go on"
            )
        shown[name] = os.environ[name] if value == SECRET else show_path(value)
    return shown


@functools.cache
def _user_name() -> str | None:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # no entry for this user id, as in some containers
        return None
    # "root" is nobody's name, and a word of its own in many messages.
    return name if len(name) >= _SHORTEST_NAME and os.getuid() != 0 else None
