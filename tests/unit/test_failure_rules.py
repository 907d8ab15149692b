"""The rules for failures are data: each knows its examples and nothing else, in bounded time."""

import time

import pytest

from sdbench.insight.explain import read_log
from sdbench.insight.failure_rules import TIERS, Rule, load_rules, parse_rules, rules_of
from sdbench.insight.known_issues import load_known_issues
from sdbench.insight.version_ranges import UNKNOWN

RULES = load_rules()
EXAMPLES = [(rule, text) for rule in RULES for text in rule.examples]
NEAR_MISSES = [(rule, text) for rule in RULES for text in rule.near_misses]
UNSPECIFIC = ("general", "ended", "remark")


def named(pairs: list[tuple[Rule, str]]) -> list[str]:
    return [f"{rule.id}-{index}" for index, (rule, _) in enumerate(pairs)]


@pytest.mark.parametrize(("rule", "text"), EXAMPLES, ids=named(EXAMPLES))
def test_example_is_explained_by_its_rule_and_no_wrong_one(rule: Rule, text: str) -> None:
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


@pytest.mark.parametrize(("rule", "text"), NEAR_MISSES, ids=named(NEAR_MISSES))
def test_near_miss_is_not_matched(rule: Rule, text: str) -> None:
    assert rule.read(text) is None


def test_rules_are_written_for_people() -> None:
    ids = {rule.id for rule in RULES}
    for rule in RULES:
        said = [(rule.cause, rule.remedy)]
        said += [(one.cause or rule.cause, one.remedy or rule.remedy) for one in rule.case]
        for cause, remedy in said:
            assert cause.endswith((".", "{inner}")) and remedy.endswith("."), rule.id
        assert set(rule.also) <= ids, rule.id
        assert all(name.count("#") == 1 and "/" in name for name in rule.sources), rule.id
        assert rule.near_misses, rule.id
        if rule.generic and rule.tier != "gpu-work":
            assert rule.confidence != "high", rule.id


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
        (RULE + RULE, "one: the id is there twice"),
        (RULE.replace("{what}", "{who}"), "one: nothing fills who"),
        (RULE.replace("{1,9}", "{1,9})"), "one: unbalanced parenthesis"),
        (RULE.replace('["out of luck"]', "[]"), "one: expected at least one example"),
        (RULE + '[[rule.case]]\nwhen = { torch = "new" }', "one: Invalid specifier"),
        (RULE + "[[rule.case]]\nwhen = { text = '(' }", "one: missing"),
        (RULE.replace("[[rule]]", "[[rule"), "line 2"),
    ],
)
def test_a_bad_document_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_rules(text)
