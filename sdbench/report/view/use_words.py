"""What to use, in the words with which a run ends. Pure."""

from sdbench.analysis.case_words import arm_words
from sdbench.analysis.iterations import iterations_words
from sdbench.diagnosis.result import Choice, Goal, Recommendation
from sdbench.plan.read_config import load_config, shipped_configs
from sdbench.records import Run
from sdbench.report.view.headline import measurable_gains
from sdbench.stats import MIN_PROCESSES
from sdbench.words import seconds, shell


def use_lines(recommendation: Recommendation, run: Run) -> list[str]:
    """A line for each resolution, else one that says why nothing is recommended.

    ``Use at 512x512: float16, one by one: 0.214 s per image, 37 it/s; many: …``.
    """
    if recommendation.few_processes is not None:
        return [_too_early(recommendation.few_processes, run)]
    lines = [line for goal in recommendation.goals for line in _goal_lines(goal, run)]
    return lines or [f"No recommendation: {recommendation.sentence}"]


def _goal_lines(goal: Goal, run: Run) -> list[str]:
    choices = [
        (purpose, choice)
        for purpose, choice in (("one image", goal.latency), ("many", goal.throughput))
        if choice is not None
    ]
    reasons = [] if goal.reason is None else [f"{_capital(goal.reason)}."]
    if not choices:
        return reasons
    if goal.latency is not None and goal.latency == goal.throughput:
        choices = [("one or many", goal.latency)]
    first = choices[0][0] == "one image"
    words = [
        ("" if first and purpose == "one image" else f"{purpose}: ") + _choice_words(choice, run)
        for purpose, choice in choices
    ]
    gains = dict.fromkeys(
        sentence for _, choice in choices for sentence in measurable_gains(choice)[:1]
    )
    sentences = [f"Use at {goal.resolution}: {'; '.join(words)}", *map(_capital, gains)]
    return [". ".join(sentences) + ".", *reasons]


def _choice_words(choice: Choice, run: Run) -> str:
    """``sliced, float16, one by one: 0.214 s per image, 37 it/s``."""
    settings = [word for word in choice.case.words() if word != choice.case.batching]
    how = {
        "loop": "one by one",
        "batch": f"in a batch of {_images(run)}",
        "split": f"{_images(run)} spread over several processes",
    }[choice.case.batching]
    named = ", ".join([*settings, how]) + arm_words(choice.arm, run.plan.arms)
    rate = iterations_words(choice.iterations_per_second)
    return f"{named}: {seconds(choice.seconds_per_picture)} per image, {rate}"


def _images(run: Run) -> int:
    return int(run.config["images"])


def _too_early(few: str, run: Run) -> str:
    """That no case has enough processes, and the command that measures enough."""
    name = str(run.config.get("name"))
    words = f"Too early to say what to use: {few.rpartition(': ')[2]}"
    if name not in shipped_configs():
        return f"{words}. A recommendation takes {MIN_PROCESSES}: --set replicates={MIN_PROCESSES}"
    command = ["sdbench", "run", name]
    if run.model.name != load_config(name).model:
        command += ["--model", run.model.name]
    command += ["--set", f"replicates={MIN_PROCESSES}"]
    return f"{words}. A recommendation takes {MIN_PROCESSES}: {shell(*command)}"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
