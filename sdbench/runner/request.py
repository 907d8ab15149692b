"""The request of the command line for a run, and the configuration that results from it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sdbench.plan.config import Config, UntilDecided
from sdbench.plan.read_config import load_config
from sdbench.privacy.redact_recorded import hide_path
from sdbench.records import Arm

DEFAULT_CONFIG = "default"
CPU_DEFAULT_CONFIG = "quick"
"""Of the CPU, for which the other takes too long."""
_LONGEST_ARM_NAME = 56  # leaves room for a number within the 64 a name may have


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    config: str | None = None
    model: str | None = None
    lora: tuple[str, ...] = ()
    parts: str | None = None
    revision: str | None = None
    device: str | None = None
    stacks: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    label: str | None = None
    allow_pickle: bool = False
    unsafe_memory: bool = False
    until_decided: bool = False
    made: Config | None = None
    """The configuration itself, where sdbench made it and no file holds it."""
    mode: str | None = None
    strength: float | None = None


def configure(request: Request, name: str) -> Config:
    """The configuration of that name with everything that the command line says."""
    if request.made is not None:
        return request.made
    overrides = list(request.overrides)
    if request.model is not None:
        overrides.append(f"model={_toml_text(request.model)}")
    if request.lora:
        overrides.append(f"lora={_toml_text(request.lora)}")
    if request.mode is not None:
        overrides.append(f"mode={_toml_text(request.mode)}")
    if request.strength is not None:
        overrides.append(f"strength={request.strength!r}")
    if request.parts is not None:
        overrides.append(f"parts={_toml_text(request.parts)}")
    if request.revision is not None:
        overrides.append(f"revision={_toml_text(request.revision)}")
    if request.device is not None:
        overrides.append(f"device={_toml_text(request.device)}")
    config = load_config(name, overrides)
    if request.stacks:
        config = msgspec.structs.replace(config, arm=_arms_for(request.stacks))
    if request.until_decided and config.until_decided is None:
        config = msgspec.structs.replace(config, until_decided=UntilDecided())
    return config


def _toml_text(value: str | Sequence[str]) -> str:
    return json.dumps(value)


def _arms_for(stacks: Sequence[str]) -> tuple[Arm, ...]:
    """One variant an environment, named after its folder; names that are taken are numbered."""
    arms: dict[str, Arm] = {}
    for stack in stacks:
        stem, number = _arm_name(stack), 1
        name = stem
        while name.casefold() in {taken.casefold() for taken in arms}:
            number += 1
            name = f"{stem}-{number}"
        arms[name] = Arm(name=name, stack=stack)
    return tuple(arms.values())


def _arm_name(stack: str) -> str:
    """``venv/bin/python`` and ``venv`` are both called ``venv``; nobody's name is in it."""
    path = Path(stack)
    folder = path.parent.parent if path.parent.name == "bin" else path
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", hide_path(str(folder)).rpartition("/")[2])
    return cleaned.strip("._-")[:_LONGEST_ARM_NAME] or "stack"
