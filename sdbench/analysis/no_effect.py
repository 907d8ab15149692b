"""Settings that did nothing in the pipeline that was measured, by what its workers recorded. Pure.

Older records do not say it: of them no setting is known to have had no effect.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sdbench.records import AXES, Case, Replicate, Run

NO_EFFECT = "has no effect on this model"
_NO_REASON = "the reason is not on record"
_DEFAULTS: dict[str, Any] = msgspec.structs.asdict(Case())


def settings_without_effect(replicates: Iterable[Replicate]) -> dict[str, str]:
    """Settings of a row that had no effect, with the reason.

    At least one of its processes has to say so, and none the opposite.
    """
    found: dict[str, str] = {}
    effective: set[str] = set()
    for replicate in replicates:
        for axis, effect in replicate.effects.items():
            if effect.effective:
                effective.add(axis)
            elif effect.effective is False:
                found.setdefault(axis, effect.reason or _NO_REASON)
    return {axis: found[axis] for axis in AXES if axis in found and axis not in effective}


def chosen_without_effect(run: Run, case: Case, no_effect: Mapping[str, str]) -> dict[str, str]:
    """Those that somebody chose: a value of the case, or one of the run that no default gave."""
    return {
        axis: reason
        for axis, reason in no_effect.items()
        if getattr(case, axis) != _DEFAULTS[axis]
        or (_DEFAULTS[axis] is None and axis not in run.resolved)
    }


def as_computed(case: Case, no_effect: Iterable[str]) -> Case:
    """The case without the settings that did nothing.

    A setting whose default is what the run as a whole has stays: nothing stands for "without it".
    """
    plain = {axis: _DEFAULTS[axis] for axis in no_effect if _DEFAULTS[axis] is not None}
    return msgspec.structs.replace(case, **plain)


def setting_words(axis: str, value: object) -> str:
    """``attention slicing``, ``offload group``: a setting that is switched on, or its value."""
    return AXES[axis].words.format("" if isinstance(value, bool) else value).strip()


def marked(name: str, case: Case, no_effect: Iterable[str]) -> str:
    """``512x512 sliced (sliced has no effect on this model)``: a case's name in a table."""
    words = no_effect_words(case, no_effect)
    return f"{name} ({words})" if words else name


def no_effect_words(case: Case, no_effect: Iterable[str]) -> str:
    """Which words of a case's name stand for nothing; empty where all of it has an effect."""
    words = [
        AXES[axis].slug.format(value)
        for axis in no_effect
        if (value := getattr(case, axis)) != _DEFAULTS[axis]
    ]
    if len(words) < 2:
        return f"{words[0]} {NO_EFFECT}" if words else ""
    return f"{' and '.join(words)} have no effect on this model"
