"""What a run ends with: the settings to use, with their time and rate, or why there are none."""

from collections.abc import Callable

from diagnosed_runs import case, diagnosis, loaded_run, matching, plan

from sdbench.records import Case, Slot
from sdbench.report.view.use_words import use_lines
from sdbench.runs import LoadedRun


def taking(factors: dict[Case, float]) -> Callable[[Slot, Case], float]:
    def time_of(slot: Slot, of: Case) -> float:
        return factors.get(of, 1.0) * (1 + 0.002 * ((slot.index * 7919) % 11 - 5) / 5)

    return time_of


TIMES = {case(attention_slicing=True): 1.5, case(batching="batch"): 0.6}


def lines(run: LoadedRun) -> list[str]:
    return use_lines(diagnosis(run).recommendation, run.run)


def test_settings_stand_first_with_seconds_a_picture_and_steps_a_second() -> None:
    run = loaded_run(config=plan(replicates=8, steps=10), compared=matching, seconds=taking(TIMES))
    (line,) = lines(run)
    # two pictures a pass: 1.0 s a pass is 0.5 s per image, and 10 steps in it are 20 a second
    assert line.startswith(
        "Use at 64x64: one by one: 0.5 s per image, 20 it/s; many: in a batch of 2: 0.3 s "
        "per image, 33.3 it/s. "
    )
    assert "Attention slicing off takes 0.67 times" in line


def test_nothing_is_recommended_from_one_process_and_the_command_for_enough_is_given() -> None:
    config = plan(replicates=1, name="quick")
    (line,) = lines(loaded_run(config=config, compared=matching, seconds=taking(TIMES)))
    assert line == (
        "Too early to say what to use: 1 process per case. A "
        "recommendation takes 3: sdbench run quick --model synthetic/tiny --set replicates=3"
    )


def test_of_a_configuration_of_ones_own_only_the_option_is_named() -> None:
    (line,) = lines(loaded_run(config=plan(replicates=2, name="mine"), compared=matching))
    assert line.endswith("2 processes per case. A recommendation takes 3: --set replicates=3")


def test_why_nothing_is_recommended_is_said_where_pictures_were_not_checked() -> None:
    (line,) = lines(loaded_run(compared=lambda slot, of: None))
    assert line.startswith("No measured setting can be recommended at 64x64: 4 cases not checked")
