"""Decides which runs form one series: the same work, with the same software, on the
same machine."""

import hashlib
import json
import math
import statistics
from collections.abc import Mapping
from typing import Any

from sdbench.analysis.beside import others_at_work
from sdbench.analysis.case_result import CaseResult, Figures
from sdbench.analysis.comparability import system_of
from sdbench.analysis.run_summary import device_facts
from sdbench.knowledge.variables import only_says_where
from sdbench.records import Replicate, Run

_WORK_KEYS = ("prompts", "steps", "seed", "scheduler", "guidance_scale", "images")
# What only the pipeline uses, and none of torch's operators.
_OF_PIPELINES = ("DIFFUSERS_", "TRANSFORMERS_", "ACCELERATE_")
_PIPELINE_PACKAGES = frozenset(
    {
        *("diffusers", "transformers", "accelerate", "tokenizers", "safetensors"),
        *("huggingface_hub", "huggingface-hub"),
    }
)


def software_of(row: CaseResult) -> list[Any]:
    """All software that times may depend on."""
    return _software(row, frozenset(), ())


def operators_of(row: CaseResult) -> list[Any]:
    """The software that the speed of the reference work may depend on: torch and what it is built
    on."""
    return _software(row, _PIPELINE_PACKAGES, _OF_PIPELINES)


def _software(row: CaseResult, without: frozenset[str], prefixes: tuple[str, ...]) -> list[Any]:
    run, arm = row.run, row.arm
    stack = run.stacks[arm.stack]
    return [
        stack.python,
        {name: version for name, version in stack.packages.items() if name not in without},
        system_of(run),
        _deciding(run.environment, prefixes),
        run.preload,
        _deciding(arm.env, prefixes),
        arm.hold_bytes,
        device_facts(row.replicates),
    ]


def _deciding(variables: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {
        name: text
        for name, text in variables.items()
        if not only_says_where(name) and not name.startswith(prefixes)
    }


def series_of(row: CaseResult) -> str:
    """A digest that two results share only if nothing that sdbench knows of differs except the
    time."""
    run = row.run
    known = [
        software_of(row),
        row.summary.case_id,
        run.model.sha256 or run.model.name,
        {key: run.config.get(key) for key in _WORK_KEYS}
        | run.begins_with(row.summary.case.resolution),
        [run.device, run.machine_id, is_simulated(run, row.replicates), run.plan.start],
        # Runs of an older sdbench keep their digests.
        *([["others at work", others]] if (others := others_at_work(run)) else []),
    ]
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def is_simulated(run: Run, replicates: list[Replicate]) -> bool:
    """Whether these runs were made on a stand-in device."""
    return run.simulated or any(entry.simulated for entry in replicates)


def yardsticks_of(row: CaseResult) -> dict[int, Figures]:
    """Seconds of the reference work by its version, then by block, for processes that completed."""
    found: dict[int, Figures] = {}
    for entry in row.replicates:
        read = entry.yardstick
        if read is None or entry.block not in row.steady_s:
            continue
        logs = [math.log(value) for value in (read.before_s, read.after_s) if value is not None]
        if logs:
            figures = found.setdefault(read.version, {})
            figures[entry.block] = math.exp(statistics.fmean(logs))
    return found
