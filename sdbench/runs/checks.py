"""What types cannot say of ``run.json``: that its parts fit together, and every value is possible.

A run folder may come from anybody. An impossible value is reported here with its place, so that
the verbs which read a run need no checks of their own.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sdbench.errors import ConfigError, StoreError
from sdbench.files.access import TOO_DEEP
from sdbench.plan.config import Config
from sdbench.plan.read_config import parse_config
from sdbench.records import Compared, Record, Run
from sdbench.words import shortened

MOST_CASES, MOST_ARMS, MOST_SLOTS = 100_000, 1000, 1_000_000
"""Limits of a plan that is read; of one that is made they are lower (``plan/order.py``)."""
# What every sdbench has written, and what renderers ask for without a default.
_ALWAYS = (
    *("name", "model", "device", "steps", "guidance_scale", "scheduler", "seed", "images"),
    *("passes", "replicates", "prompts"),
)
_RESOLVED = ("scheduler", "steps", "guidance_scale")
# As variants are: with their level of [pressure] in the name and in ``hold_bytes``. The plan has
# them.
_NOT_AS_CONFIGURED = ("arm", "allow_pickle")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
"""Of a run or a variant: also a file's name on any system."""
_WHOLE = ("memory_bytes", "cores_physical", "cores_logical", "gpu_cores")
_LARGEST_FACT = 1 << 62
_DEEPEST = 100


def check_run(run: Run, source: str) -> list[str]:
    """Check a decoded run; returns warnings.

    Raises:
        StoreError: it says what no sdbench writes; the message names the place.
    """
    fault = next(_faults(run), None)
    if fault is not None:
        raise StoreError(f"{source}: {fault}")
    warnings = _check_config(run.config, source)
    from_image = run.config.get("mode") == "image-to-image"
    if from_image != (run.image_to_image is not None):
        raise StoreError(
            f"{source}: image_to_image: expected if, and only if, config.mode is 'image-to-image'"
        )
    if from_image and run.config.get("strength") in (None, "auto"):
        raise StoreError(f"{source}: config.strength: expected the value that the run used")
    return warnings


def _check_config(config: Mapping[str, Any], source: str) -> list[str]:
    """The configuration by the rules for configurations; keys of a newer sdbench are named."""
    for key in _ALWAYS:
        if config.get(key) is None:
            raise StoreError(f"{source}: config.{key}: is missing")
    for key in _RESOLVED:
        if config[key] == "auto":
            raise StoreError(
                f"{source}: config.{key}: expected the value that the run used, got 'auto'"
            )
    if not isinstance(config.get("allow_pickle", False), bool):
        raise StoreError(f"{source}: config.allow_pickle: expected true or false")
    known = set(Config.__struct_fields__)
    unknown = [key for key in config if key not in known and key not in _NOT_AS_CONFIGURED]
    try:
        _parsed(config, f"{source}: config")
    except ConfigError as error:
        raise StoreError(str(error)) from None
    if not unknown:
        return []
    names = shortened(", ".join(unknown))
    words = f"run.json has settings that this sdbench does not know ({names})"
    return [f"{words}: what they changed is not shown"]


def config_of(run: Run) -> Config:
    """The configuration of a run that :func:`check_run` has found right, its variants aside."""
    return _parsed(run.config, "config")


def _parsed(config: Mapping[str, Any], source: str) -> Config:
    own = {
        key: value
        for key, value in without_none(config).items()
        if key in Config.__struct_fields__ and key not in _NOT_AS_CONFIGURED
    }
    return parse_config(own, source)


def without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null; what was not given is left out again."""
    cleaned: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            cleaned[key] = without_none(value)
        elif isinstance(value, list):
            cleaned[key] = [
                without_none(entry) if isinstance(entry, dict) else entry for entry in value
            ]
        elif value is not None:
            cleaned[key] = value
    return cleaned


def _faults(run: Run) -> Iterator[str]:
    """What is wrong; only the first is reported."""
    if run.schema < 1:
        yield f"schema: expected 1 or more, got {run.schema}"
    if not NAME.fullmatch(run.run_id):
        yield "run_id: expected letters, digits, '.', '_' or '-', at most 200"
    for name in ("config", "machine", "machine_facts"):
        if _is_too_deep(getattr(run, name)):
            yield f"{name}: {TOO_DEEP}"
    yield from _plan_faults(run)
    yield from _fact_faults(run)


def _plan_faults(run: Run) -> Iterator[str]:
    plan = run.plan
    for name, entries, most in (
        ("cases", plan.cases, MOST_CASES),
        ("arms", plan.arms, MOST_ARMS),
        ("slots", plan.slots, MOST_SLOTS),
    ):
        if len(entries) > most:
            yield f"plan.{name}: {len(entries):,} of them, and at most {most:,} are read"
    if not plan.cases or not plan.arms:
        yield "plan: expected at least one case and one variant"
    cases = [planned.case_id for planned in plan.cases]
    arms = [arm.name for arm in plan.arms]
    if len(set(cases)) < len(cases):
        yield "plan.cases: expected each case once"
    if len(set(arms)) < len(arms):
        yield "plan.arms: expected each name once"
    for index, arm in enumerate(plan.arms):
        if not NAME.fullmatch(arm.name):
            yield f"plan.arms[{index}].name: expected letters, digits, '.', '_', '+' or '-'"
        if arm.stack not in run.stacks:
            yield f"plan.arms[{index}].stack: {shortened(arm.stack)!r} is not in run.stacks"
    known_cases, known_arms = set(cases), set(arms)
    for index, slot in enumerate(plan.slots):
        if slot.case_id not in known_cases or slot.arm not in known_arms:
            yield f"plan.slots[{index}]: its case and variant are not in the plan"


def _fact_faults(run: Run) -> Iterator[str]:
    for key, value in run.machine.items():
        if key in _WHOLE:
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and 0 < value < _LARGEST_FACT):
                yield f"machine.{shortened(key)}: expected a whole number above 0 or null"
        elif not isinstance(value, str | bool | int | float | None):
            yield f"machine.{shortened(key)}: expected text, a number, true, false or null"
    for key, value in run.machine_facts.items():
        if not isinstance(value, dict) and (key in _GROUPS or isinstance(value, list)):
            yield f"machine_facts.{shortened(key)}: expected a table"


def record_fault(record: Record) -> str | None:
    """What is wrong with a record that its types do not say, its device aside; None if nothing."""
    if isinstance(record, Compared):
        for index, curve in enumerate(record.divergence):
            if not len(curve.step) == len(curve.rel_l2) == len(curve.allowed_rel_l2):
                return f"divergence[{index}]: expected lists of the same length"
    return None


def device_fault(device: Mapping[str, Any]) -> str | None:
    """What is wrong with what a worker told of its device; None if nothing."""
    if _is_too_deep(device):
        return f"device: {TOO_DEEP}"
    facts = device.get("facts", {})
    if not isinstance(facts, dict):
        return "device.facts: expected a table"
    for name, value in facts.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name.endswith("_bytes") and value is not None:
            if not (whole and 0 <= value < _LARGEST_FACT):
                return f"device.facts.{shortened(name)}: expected a number of bytes"
        elif isinstance(value, dict | list):
            return f"device.facts.{shortened(name)}: expected text, a number, true, false or null"
    return None


def _is_too_deep(value: object) -> bool:
    """Whether lists and tables lie in each other deeper than what walks through them can follow."""
    layer = [value]
    for _ in range(_DEEPEST):
        layer = [
            inner
            for one in layer
            for inner in (
                one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
            )
        ]
        if not layer:
            return False
    return True


def _groups() -> frozenset[str]:
    """Facts of a machine that are tables."""
    from sdbench.machine import MachineFacts

    return frozenset(
        field.name
        for field in msgspec.structs.fields(MachineFacts)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    )


_GROUPS = _groups()
