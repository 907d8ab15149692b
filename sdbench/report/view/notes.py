"""The notes of a run that every rendering shows."""

from sdbench.report.view import RunReport


def notes_of(story: RunReport) -> list[str]:
    """What is missing and what to keep in mind, each thing said once."""
    reported = {check.found for check in story.headline.setup}
    missing = [
        words
        for words in [*story.missing, *story.summary.warnings]
        if not any(note.startswith(words) for note in story.notes)
    ]
    return [note for note in dict.fromkeys([*missing, *story.notes]) if note not in reported]
