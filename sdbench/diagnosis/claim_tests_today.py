"""The tests of what only today's documentation claims, and which edition a machine agrees with."""

from collections.abc import Sequence

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from sdbench.analysis.case_result import CaseResult
from sdbench.diagnosis.claim_tests import Answer, Side
from sdbench.diagnosis.result import Claim, ClaimVerdict, Conflict
from sdbench.knowledge.attention_limits import FIRST_ATTENTION, unet_scores
from sdbench.knowledge.compatibility import RULES
from sdbench.knowledge.version_ranges import release, within
from sdbench.models.family import family_of

_LIMIT_BYTES = 2**32
_MINIMUM = Version("1.13")
# How it shows that an array was too large: Metal's assertions and torch's refusals.
_TOO_LARGE = {
    *("ndarray-over-2-32-bytes", "tensor-dimension-over-2-31", "matmul-over-2-32-elements"),
    "invalid-buffer-size",
}


def large_arrays_fail(side: Side) -> Answer:
    """Attention whose scores are one array of more than 2**32 bytes; only where it is made whole.

    An image that is wrong counts as a failure, one that nobody checked as neither.
    """
    large = [row for row in side.rows if (_score_bytes(side, row) or 0) > _LIMIT_BYTES]
    evidence = {
        "cases": {
            row.summary.case_id: {
                "score_bytes": _score_bytes(side, row),
                "outcome": row.summary.outcome,
                "correct": row.summary.correct,
            }
            for row in large
        }
    }
    if not large:
        return Answer(
            "inconclusive",
            "not decided: no case was measured that makes an array of more than 2**32 bytes "
            '(attention = "math" at 768x768 in float32 does).',
            evidence=evidence,
        )
    right = [row for row in large if row.summary.outcome == "ok" and row.summary.correct == "match"]
    failed = [row for row in large if _is_too_large(row)]
    effect = len(failed) / len(large)
    words = (
        f"{len(failed)} of {len(large)} cases with an array of more than 2**32 bytes fail or are "
        f"wrong, {len(right)} match the CPU"
    )
    verdict: ClaimVerdict = "inconclusive"
    if right:
        verdict = "refuted"
    elif len(failed) == len(large):
        verdict = "confirmed"
    return Answer(verdict, f"{words}.", effect, None, evidence)


def _score_bytes(side: Side, row: CaseResult) -> int | None:
    """Bytes of the largest array of attention scores that is made whole; None: none, or unknown."""
    case = row.summary.case
    name, family = family_of(side.evidence.run.model.pipeline_class)
    attention = FIRST_ATTENTION.get(name or "")
    if attention is None or case.attention != "math" or case.attention_slicing:
        return None
    guided = family.guided_above is not None
    return unet_scores(case, side.evidence.images, guided, *attention).size_bytes


def _is_too_large(row: CaseResult) -> bool:
    if row.summary.outcome == "ok":
        return row.summary.correct in ("drift", "broken")
    causes = [replicate.cause for replicate in row.replicates]
    return any(cause is not None and cause.kind in _TOO_LARGE for cause in causes)


def half_precision_loads(side: Side) -> Answer:
    """A process loaded it if it completed a pass, whatever its images are like."""
    rows = [row for row in side.rows if row.summary.case.dtype == "float16"]
    if not rows:
        return Answer("inconclusive", "not decided: no case in float16 was measured.")
    loaded = [row for row in rows if _loaded(row)]
    evidence = {"loaded": {row.summary.case_id: row in loaded for row in rows}}
    effect = len(loaded) / len(rows)
    words = f"{len(loaded)} of {len(rows)} cases in float16 load and complete a pass"
    verdict: ClaimVerdict = "inconclusive"
    if len(loaded) == len(rows):
        verdict = "confirmed"
    elif not loaded and any(_loaded(row) for row in side.rows if row not in rows):
        verdict = "refuted"
        words += ", in another type they do"
    return Answer(verdict, f"{words}.", effect, None, evidence)


def _loaded(row: CaseResult) -> bool:
    return any(replicate.passes for replicate in row.replicates)


def torch_is_enough(side: Side) -> Answer:
    """The minimum is refuted where diffusers itself asks for more."""
    done = [row for row in side.rows if row.summary.outcome == "ok"]
    torch = side.torch
    if torch is None or not done:
        why = "the torch release is unknown" if torch is None else "no case completed"
        return Answer("inconclusive", f"not decided: {why}.")
    diffusers = side.evidence.versions(done[0]).get("diffusers")
    evidence = {"torch": str(torch), "diffusers": diffusers}
    effect = len(done) / len(side.rows)
    words = f"{len(done)} of {len(side.rows)} cases complete with torch {torch}"
    asked = [
        rule.needs
        for rule in RULES
        if (rule.package, rule.other) == ("diffusers", "torch")
        and within(rule.version, release(diffusers))
        and not SpecifierSet(rule.needs).contains(_MINIMUM)
    ]
    if asked:
        words += f", but diffusers {diffusers} needs torch {asked[-1]}, which is more than 1.13"
        return Answer("refuted", f"{words}.", effect, None, evidence)
    if torch.release < _MINIMUM.release:
        return Answer("refuted", f"{words}, which is older.", effect, None, evidence)
    return Answer("confirmed", f"{words}.", effect, None, evidence)


def conflicts_of(claims: Sequence[Claim], device: str) -> list[Conflict]:
    """Where two editions contradict each other, and which of them each environment agrees with."""
    by_key = {(claim.stack, claim.id): claim for claim in claims}
    return [
        _about_slicing(by_key[stack, "e"], by_key[stack, "g"], device)
        for stack in dict.fromkeys(claim.stack for claim in claims)
    ]


def _about_slicing(old: Claim, new: Claim, device: str) -> Conflict:
    """The sign of the 20%: the pages of 2022 and 2023 say slower, today's says faster."""
    agrees: str | None = None
    if device == "mps":
        sentence = "Both say the same of Apple silicon, so this machine cannot decide it."
    elif old.verdict == "confirmed":
        agrees, sentence = "2023", "This machine agrees with the pages of 2022 and 2023."
    elif new.verdict == "confirmed":
        agrees, sentence = "today", "This machine agrees with today's page."
    elif old.ci95 is None or old.ci95[0] <= 1 <= old.ci95[1]:
        sentence = "Not decided on this machine."
    else:
        slower = old.ci95[0] > 1
        agrees = "2023" if slower else "today"
        pages = "the pages of 2022 and 2023" if slower else "today's page"
        way = "slows down" if slower else "gains"
        sentence = f"It {way} here, as {pages} say{'' if slower else 's'}, though not by about 20%."
    return Conflict(
        about="attention slicing and speed without unified memory",
        claims=[old.id, new.id],
        agrees_with=agrees,
        sentence=sentence,
        stack=old.stack,
    )
