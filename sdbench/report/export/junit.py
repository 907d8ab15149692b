"""JUnit XML, which every CI shows: of a run, or of a comparison."""

from collections.abc import Collection, Sequence
from xml.etree import ElementTree

from sdbench.analysis.case_words import OUTCOME_WORDS, row_words
from sdbench.analysis.no_effect import marked
from sdbench.analysis.run_summary import CaseSummary, RunSummary
from sdbench.comparison.result import CaseComparison, Comparison
from sdbench.report.view.comparison_words import VERDICT_WORDS, case_name
from sdbench.words import printable


def junit_of_comparison(
    comparison: Comparison, failing: Collection[CaseComparison], closed: str | None = None
) -> str:
    """One test per case: failed as the exit code says, skipped where it is unknown.

    ``closed`` is why the gate fails although no condition holds: a test of its own that fails.
    """
    suite = ElementTree.Element("testsuite", name="sdbench compare")
    for case in comparison.cases:
        test = _test(suite, f"compare.{case.new_case_id}", case_name(case))
        words = f"{VERDICT_WORDS[case.verdict]}: {case.explanation or _ratio_words(case)}"
        if case in failing:
            kind = "undecided" if case.verdict == "inconclusive" else case.verdict
            _child(test, "failure", words, case.regression or kind)
        elif case.verdict in ("inconclusive", "incorrect"):
            _child(test, "skipped", words)
        _child(test, "system-out", _ratio_words(case))
    if closed is not None:
        _child(_test(suite, "compare", "nothing could be judged"), "failure", closed, "undecided")
    return _document(suite)


def junit_of_runs(summaries: Sequence[RunSummary]) -> str:
    """A suite a run, a test per case and variant: failed unless it completed and is not wrong."""
    return _document(*(_run_suite(summary) for summary in summaries))


def _run_suite(summary: RunSummary) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=f"sdbench {printable(summary.run_id)}")
    arms = {row.arm for row in summary.cases}
    for row in summary.cases:
        test = _test(suite, f"run.{row.case_id}", row_words(row.case, row.arm, arms))
        if row.latency_s.median is not None:
            test.set("time", f"{row.latency_s.median:.6f}")
        if row.outcome == "skipped":
            _child(test, "skipped", row.reason or OUTCOME_WORDS[row.outcome])
        elif row.outcome != "ok":
            _child(test, "failure", f"{OUTCOME_WORDS[row.outcome]}: {row.reason}", row.outcome)
        elif row.correct == "broken":
            _child(test, "failure", f"wrong image: {row.correct_reason}", "incorrect")
        _child(test, "system-out", _figures(row))
    return suite


def _test(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=f"sdbench.{printable(classname)}", name=printable(name)
    )


def _child(test: ElementTree.Element, tag: str, words: str, kind: str | None = None) -> None:
    child = ElementTree.SubElement(test, tag)
    if tag == "system-out":
        child.text = printable(words)
        return
    child.set("message", printable(words))
    if kind is not None:
        child.set("type", kind)


def _document(*suites: ElementTree.Element) -> str:
    """Counts last, when all is known."""
    root = ElementTree.Element("testsuites")
    for suite in suites:
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
        suite.set("errors", "0")
        suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
        root.append(suite)
    ElementTree.indent(root)
    text: str = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _ratio_words(case: CaseComparison) -> str:
    if case.ratio is None:
        return "no ratio"
    bounds = "" if case.ci95 is None else f" (95%: {case.ci95[0]:.3f} to {case.ci95[1]:.3f})"
    return f"time new/base {case.ratio:.3f}{bounds}"


def _figures(row: CaseSummary) -> str:
    latency = row.latency_s
    if latency.median is None:
        return latency.reason or "no steady time"
    words = f"{latency.median:.6g} s a pass, median of {latency.n} processes"
    return marked(words, row.case, row.no_effect)
