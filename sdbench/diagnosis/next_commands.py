"""Commands that go on where a finding ends, whole, to be pasted. Pure."""

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.case_words import case_words
from sdbench.diagnosis.evidence import Evidence
from sdbench.records import Case
from sdbench.words import shell

# localise has no option for these, so it would look at something else.
_NOT_LOCALISED = (
    *("attention", "offload", "vae_dtype", "vae_device", "attention_upcast", "compile"),
    "quantization",
)
_PLAIN = Case()


def show_command(evidence: Evidence, row: CaseResult) -> str:
    """``sdbench show results/… '512x512 sliced'``."""
    return shell("sdbench", "show", evidence.path, case_words(row.summary.case))


def repro_command(evidence: Evidence, row: CaseResult) -> str | None:
    """The script and text for a bug report; None where ``repro`` writes none."""
    if evidence.run.model.loras or row.summary.case.batching == "split":
        return None
    words = ["sdbench", "repro", evidence.path, case_words(row.summary.case)]
    return shell(*words, *(["--arm", row.arm.name] if row.of_arm else []))


def localise_command(evidence: Evidence, row: CaseResult) -> str | None:
    """The search for the operator with the options of a case; None where it has no such options."""
    run, case = evidence.run, row.summary.case
    model = run.model
    unlike = any(getattr(case, axis) != getattr(_PLAIN, axis) for axis in _NOT_LOCALISED)
    unlike |= case.batching == "split"  # one process computes as that of a loop does
    if unlike or run.device == "cpu" or model.loras or model.file is not None:
        return None
    words: list[object] = ["sdbench", "localise", "--model", model.name]
    words += ["--revision", model.revision] if model.revision else []
    if run.image_to_image is not None:
        words += ["--mode", "image-to-image", "--strength", run.config.get("strength")]
    words += ["--device", run.device]
    words += ["--stack", row.arm.stack] if row.arm.stack != "current" else []
    words += ["--resolution", case.resolution, "--dtype", case.dtype]
    words += ["--slicing"] if case.attention_slicing else []
    words += ["--vae-tiling"] if case.vae_tiling else []
    words += ["--batch", evidence.images] if case.batching == "batch" else []
    return shell(*words)


def look_closer(evidence: Evidence, row: CaseResult) -> str:
    """``Find the operator: sdbench localise …; make a bug report: sdbench repro …``."""
    steps = [
        ("find the operator", localise_command(evidence, row)),
        ("make a bug report", repro_command(evidence, row)),
    ]
    words = "; ".join(f"{what}: {command}" for what, command in steps if command is not None)
    if not words:
        return f"Look closer: {show_command(evidence, row)}"
    return words[0].upper() + words[1:]


def commands_in(remedy: str, evidence: Evidence, row: CaseResult) -> list[str]:
    """Those of a row's commands that a remedy has in it, in its order."""
    known = (
        localise_command(evidence, row),
        repro_command(evidence, row),
        show_command(evidence, row),
    )
    return [command for command in known if command is not None and command in remedy]
