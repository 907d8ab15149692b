"""The rules for failures are data: each knows its examples and nothing else, in bounded time."""

import itertools
import re
import time

import pytest

from sdbench.explain.explain import read_log
from sdbench.knowledge.failure_texts import (
    TIERS,
    FailurePattern,
    fitted,
    parse_rules,
    rules_of,
    shipped_rules,
)
from sdbench.knowledge.known_issues import load_known_issues
from sdbench.knowledge.settings_in_force import DTYPES, NAMES, dtype_in_text, of_text
from sdbench.knowledge.version_ranges import UNKNOWN, Versions

RULES = parse_rules(shipped_rules())
EXAMPLES = [(rule, text) for rule in RULES for text in rule.examples]
NEAR_MISSES = [(rule, text) for rule in RULES for text in rule.near_misses]
UNSPECIFIC = ("general", "ended", "remark")
# owner/repository#number, or the address of a line of source.
SOURCE = re.compile(
    r"[\w.-]+/[\w.-]+#\d+|https://github\.com/[\w.-]+/[\w.-]+/blob/[0-9a-f]{40}/\S+"
)
REMEDIES = [
    (f"{rule.id}-{index}", remedy)
    for rule in RULES
    for index, remedy in enumerate([rule.remedy, *(one.remedy for one in rule.case if one.remedy)])
]
# What advises a setting that is already so, by the setting.
ADVICE = {
    "float32": r"float32|fp32|--no-half",
    "float16": r"(?<!b)float16|fp16",
    "bfloat16": r"bfloat16",
    "one-at-a-time": r"one at a time|one image|batching = loop|fewer (?:images|frames)",
    "slicing": r"attention slicing on",
    "no-slicing": r"slicing off",
    "vae-slicing": r"VAE slicing",
    "vae-tiling": r"VAE tiling",
    "no-offload": r"without offload|with offload|leave the offload out",
    "fallback": r"PYTORCH_ENABLE_MPS_FALLBACK=1",
    "ddim": r"\bddim\b",
    "mps": r"pipeline\.to\(\"mps\"\)",
}
# The same words where they advise no setting: of one tensor, of files, of what is.
NO_ADVICE = re.compile(
    r"tensor\.to\(torch\.float32\)|\.astype\(\"float32\"\)|instead of bfloat16"
    r"|bfloat16 on mps needs|float16 files|files are float16 or bfloat16|no fp8 file"
    r"|overflows in float16[^)]*|LayerNorm at float16 is not|more in float16 on the CPU"
    r"|together with --upcast-sampling --no-half-vae|variant=\"fp16\""
    r"|Without offload it is a fault|FALLBACK does not help"
)


def named(pairs: list[tuple[FailurePattern, str]]) -> list[str]:
    return [f"{rule.id}-{index}" for index, (rule, _) in enumerate(pairs)]


@pytest.mark.parametrize(("rule", "text"), EXAMPLES, ids=named(EXAMPLES))
def test_example_is_explained_by_its_rule_and_no_wrong_one(rule: FailurePattern, text: str) -> None:
    assert read_log(text, UNKNOWN)[0].kind == rule.id
    matching = [other for other in RULES if other.read(text) is not None]
    wrong = [
        other.id
        for other in matching
        if other.id != rule.id
        and other.id not in rule.also
        and rule.id not in other.also
        and not (other.generic or other.wrapper or other.tier in UNSPECIFIC)
    ]
    assert wrong == []


# Where the message itself does not name what it is about.
UNNAMED = {"model-file-not-chosen", "operator-needs-newer-macos"}


@pytest.mark.parametrize(("rule", "text"), EXAMPLES, ids=named(EXAMPLES))
def test_every_gap_of_a_cause_is_filled(rule: FailurePattern, text: str) -> None:
    if rule.id not in UNNAMED:
        gaps = r"(?:\(|\b(?:of|for|with|needs|has|function|type|model|library) )something\b"
        assert re.search(gaps, read_log(text, UNKNOWN)[0].sentence) is None


@pytest.mark.parametrize(("rule", "text"), NEAR_MISSES, ids=named(NEAR_MISSES))
def test_near_miss_is_not_matched(rule: FailurePattern, text: str) -> None:
    assert rule.read(text) is None


def test_rules_are_written_for_people() -> None:
    ids = {rule.id for rule in RULES}
    for rule in RULES:
        said = [(rule.cause, rule.remedy)]
        said += [(one.cause or rule.cause, one.remedy or rule.remedy) for one in rule.case]
        for cause, remedy in said:
            assert cause.endswith((".", "{inner}")) and remedy.endswith((".", ".]")), rule.id
        assert set(rule.also) <= ids, rule.id
        assert all(map(SOURCE.fullmatch, rule.sources)), rule.id
        assert rule.near_misses, rule.id
        if rule.generic and rule.tier != "gpu-work":
            assert rule.confidence != "high", rule.id


# What is left of a sentence from which too much was taken.
BROKEN = re.compile(
    r"[\[\]|]| {2}| [,;]| \.(?:\s|$)|[,;.][,;]|\bor [.;](?:\s|$)|^\W|Use (?:instead|[,;.](?:\s|$))"
)


def settings_of(remedy: str) -> list[Versions]:
    """Every combination of what a remedy asks about, and each setting by itself."""
    asked = sorted(set(re.findall(r"(?<=[\s])[\w-]+(?=[\w\s>=.-]*:)", remedy)) & NAMES)
    asked = [name for name in asked if name not in (*DTYPES, "half")]
    some = [
        frozenset(chosen)
        for size in range(len(asked) + 1)
        for chosen in itertools.combinations(asked, size)
    ]
    each = [frozenset({name}) for name in NAMES - {*DTYPES, "half"}]
    return [
        Versions(torch=torch, macos=macos, dtype=dtype, in_force=in_force)
        for in_force in {*some, *each, NAMES - {*DTYPES, "half"}}
        for dtype in (None, *DTYPES)
        for torch, macos in ((None, None), ("2.0.1", "13.2"), ("2.15.0", "26.1"))
    ]


@pytest.mark.parametrize(("name", "remedy"), REMEDIES, ids=[name for name, _ in REMEDIES])
def test_no_remedy_advises_what_is_already_so(name: str, remedy: str) -> None:
    for versions in settings_of(remedy):
        text = fitted(remedy, versions)
        advice = NO_ADVICE.sub("", text)
        for setting in {*versions.in_force, *([versions.dtype] if versions.dtype else [])}:
            assert not re.search(ADVICE.get(setting, r"(?!)"), advice), (setting, text)
        # It still reads as sentences.
        assert len(text) > 15 and text.endswith("."), (name, versions, text)
        assert BROKEN.search(text) is None, (versions, text)


def test_a_remedy_is_fitted_to_the_run() -> None:
    remedy = "Use [a smaller size | unless half: float16 | unless one-at-a-time: one at a time]."
    assert fitted(remedy, UNKNOWN) == "Use a smaller size, float16 or one at a time."
    half = Versions(dtype="bfloat16")
    assert fitted(remedy, half) == "Use a smaller size or one at a time."
    alone = Versions(dtype="float16", in_force=frozenset({"one-at-a-time"}))
    assert fitted(remedy, alone) == "Use a smaller size."
    remedy = "Use a newer torch [unless torch>=2.1: (2.1 or later)][unless fallback cpu: , or X=1]."
    assert fitted(remedy, UNKNOWN) == "Use a newer torch (2.1 or later), or X=1."
    assert fitted(remedy, Versions(torch="2.1.0+cpu")) == "Use a newer torch, or X=1."
    on_cpu = Versions(torch="2.0", in_force=frozenset({"cpu"}))
    assert fitted(remedy, on_cpu) == "Use a newer torch (2.1 or later)."


def test_every_rule_has_a_tier_and_known_issues_name_rules_that_there_are() -> None:
    assert len(rules_of(*TIERS)) == len(RULES) >= 150
    ids = {rule.id for rule in RULES}
    for issue in load_known_issues():
        assert set(issue.failures) <= ids, issue.id


# Long runs of what patterns repeat, and their own words over and over.
HOSTILE = {
    "digits": "9" * 60_000,
    "letters": "a" * 60_000,
    "blanks": " " * 60_000,
    "empty lines": "\n" * 60_000,
    "quotes": "'" * 60_000,
    "lines": "error: \n" * 7_500,
    "folders": "/abc.d" * 10_000,
    "percent": "%|" * 30_000,
    "words": "is required for x MPS: Symbol not found mach-o tensor<2xf32> and " * 900,
    "frames": '  File "a", line 1, in f\n    x\n' * 2_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_pattern_is_catastrophic(name: str) -> None:
    """A pattern that goes over a text once for each place in it takes minutes, not a second."""
    started = time.process_time()
    for rule in RULES:
        rule.last_match(HOSTILE[name])
    of_text(HOSTILE[name])
    dtype_in_text(HOSTILE[name])
    assert time.process_time() - started < 10


RULE = """
[[rule]]
id = "one"
tier = "raised"
pattern = 'out of (?P<what>\\w{1,9})'
cause = "No more {what}."
remedy = "Buy some."
confidence = "high"
examples = ["out of luck"]
"""


def test_a_rule_fills_its_sentence() -> None:
    cause = parse_rules(RULE)[0].read("we are out  of\nluck")
    assert cause is not None
    assert (cause.sentence, cause.remedy) == ("No more luck.", "Buy some.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RULE + "colour = 1", "colour"),
        (RULE.replace('"raised"', '"odd"'), "odd"),
        (RULE + RULE, "one: this id is used twice"),
        (RULE.replace("{what}", "{who}"), "one: the pattern has no group named who"),
        (RULE.replace("{1,9}", "{1,9})"), "one: unbalanced parenthesis"),
        (RULE.replace('["out of luck"]', "[]"), "one: expected at least one example"),
        (RULE + '[[rule.case]]\nwhen = { torch = "new" }', "one: Invalid specifier"),
        (RULE + "[[rule.case]]\nwhen = { text = '(' }", "one: missing"),
        (RULE.replace("'out", "' out"), "one: a pattern begins or ends with a blank"),
        (
            RULE + "[[rule.case]]\nwhen = { text = 'luck ' }",
            "one: a pattern begins or ends with a blank",
        ),
        (RULE.replace("Buy some", "[unless rich: Buy some]"), "one: rich: not a known setting"),
        (RULE.replace("Buy some", "[unless torch>=new: Buy some]"), "one: Invalid specifier"),
        (RULE.replace("Buy some", "[Buy some"), "one: a bracket of a remedy has no partner"),
        (RULE.replace("[[rule]]", "[[rule"), "line 2"),
    ],
)
def test_a_bad_document_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_rules(text)
