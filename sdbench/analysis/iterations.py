"""Steps of a case, and iterations a second: what times of runs with other steps share. Pure."""

from sdbench.records import Case, Run
from sdbench.words import counted

ITERATIONS_EXPLAINED = (
    "denoising steps of an image over its seconds, text encoder and VAE included; in a batch the "
    "steps of every image count"
)


def steps_of(run: Run, case: Case) -> int | None:
    """Denoising steps that are made for an image; None where the run does not say.

    Image-to-image makes the share of them that its strength names.
    """
    steps, strength = run.setting(case, "steps"), run.config.get("strength")
    if not isinstance(steps, int):
        return None
    if run.image_to_image is not None and isinstance(strength, (int, float)):
        steps = int(steps * strength)
    return steps if steps > 0 else None


def iterations_per_second(steps: int | None, seconds_per_image: float | None) -> float | None:
    """Steps over the whole time of an image; None where either is not known."""
    return steps / seconds_per_image if steps and seconds_per_image else None


def iterations_words(per_second: float | None) -> str:
    """``37.4 it/s``, ``0.25 it/s``; ``–`` for unknown."""
    if per_second is None:
        return "–"
    return f"{per_second:.0f} it/s" if per_second >= 100 else f"{per_second:.3g} it/s"


def work_words(run: Run) -> str:
    """``8 steps, ddim, 2 images per pass``: without it no time means much."""
    config = run.config
    words = [f"{config.get('steps')} steps", str(config.get("scheduler"))]
    words += [] if run.image_to_image is None else [run.mode_words]
    return ", ".join([*words, f"{counted(int(config.get('images', 1)), 'image')} per pass"])
