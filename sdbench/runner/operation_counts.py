"""How many operations a case takes, kept from one run to the next.

They follow from shapes and settings alone, and counting them takes longer than a pass of a small
model. A count is found again by everything that decides it; what cannot be read is counted anew.
"""

import contextlib
import hashlib

import msgspec

from sdbench.files.access import read_inside, remove_scratch, write_inside
from sdbench.files.user_folders import cache_folder
from sdbench.plan.config import Config, work_of
from sdbench.records import Case, CountedFlops, Run

_FOLDER = "operations"
_FORMAT = 1
"""Changes with what ``worker/flops.py`` counts."""
_MOST_BYTES = 10_000
_ABANDONED_S = 600.0
"""So old, an unfinished file is that of a process which was killed."""
_DECIDING_VERSIONS = ("torch", "diffusers", "transformers", "accelerate")


def alike(case: Case) -> Case:
    """The case that stands for all whose networks are called with the same shapes."""
    return msgspec.structs.replace(
        case,
        warmup=False,
        dtype="float32",
        offload="none",
        vae_dtype="same",
        vae_device="same",
        attention_upcast=False,
        compile=False,
        text_encoder="resident",
    )


def known_count(run: Run, config: Config, stack: str, case: Case) -> CountedFlops | None:
    """What an earlier run counted; None where none did."""
    name = _file_of(run, config, stack, case)
    if name is None:
        return None
    try:
        data = read_inside(cache_folder(), _FOLDER, name, most_bytes=_MOST_BYTES)
        return msgspec.json.decode(data, type=CountedFlops)
    except (OSError, ValueError, RecursionError):
        return None


def keep_count(run: Run, config: Config, stack: str, case: Case, flops: CountedFlops) -> None:
    """Remember a count; where that fails, the next run counts again."""
    name = _file_of(run, config, stack, case)
    if name is not None:
        remove_scratch(cache_folder(), _FOLDER, older_than_s=_ABANDONED_S)
        data = msgspec.json.encode(flops)
        with contextlib.suppress(OSError):
            write_inside(cache_folder(), _FOLDER, name, data=data, flushed=False)


def _file_of(run: Run, config: Config, stack: str, case: Case) -> str | None:
    """The name of a count's file; None for a model that has no identity."""
    if run.model.sha256 is None:
        return None
    packages = run.stacks[stack].packages
    deciding = {
        "format": _FORMAT,
        "model": run.model.sha256,
        "pipeline": run.model.pipeline_class,
        "versions": {name: packages.get(name) for name in _DECIDING_VERSIONS},
        "preload": run.preload,
        **work_of(config, case)._asdict(),
        "images": config.images,
        "prompts": list(config.prompts),
        "case": alike(case),
        **run.begins_with(case.resolution),
    }
    digest = hashlib.sha256(msgspec.json.encode(deciding, order="sorted")).hexdigest()
    return f"{digest[:32]}.json"
