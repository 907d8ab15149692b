"""What a board's codes mean, for people. Pure."""

import functools

from sdbench.analysis.case_words import OUTCOME_WORDS

IMAGE_WORDS = {
    "right": "right",
    "slightly-different": "slightly different",
    "wrong": "wrong",
    "unknown": "not checked",
}
IMAGE_TONES = {
    "right": "good",
    "slightly-different": "warning",
    "wrong": "bad",
    "unknown": "unknown",
}
_WHY_WORDS = {
    "unverified": "not verified",
    "simulated": "simulated",
    "virtual": "virtual machine",
    "virtual-unknown": "virtual or not: unknown",
    "wrong": "wrong images",
    "no-time": "no time",
    "image-unknown": "images not checked",
    "preload": "other code was loaded first",
    "planted-fault": "planted fault",
    "newer-schema": "from a newer sdbench",
    "damaged": "damaged records",
    "unfinished": "unfinished run",
    "nothing-measured": "nothing measured",
    "few-processes": "fewer than 3 processes",
    "throttled": "slowed by heat or power saving",
    "throttled-unknown": "heat not known",
    "on-battery": "on battery",
    "power-unknown": "power source not known",
    "other-load": "other programs ran",
    "beside-others": "other devices worked",
    "load-unknown": "other load not known",
    "memory-pressure": "memory was short",
    "slept": "the machine slept",
    "times-unchecked": "times not checked",
    "unknown-model": "unknown model",
    "selftest-failed": "selftest failed",
    "selftest-missing": "no selftest",
    "selftest-unknown": "selftest incomplete",
    "pictures-unchecked": "images not checked",
    "pictures-missing": "no image in the bundle",
    "pictures-wrong": "wrong images in the run",
}


def why_words(code: str | None) -> str:
    """Why a row has no place; empty for one that has."""
    return "" if code is None else every_why().get(code, code)


@functools.cache
def every_why() -> dict[str, str]:
    """The words of every code."""
    outcomes: dict[str, str] = {str(code): words for code, words in OUTCOME_WORDS.items()}
    return outcomes | _WHY_WORDS
