"""How much work waits for the cores, and what that does to a run. Pure."""

from sdbench.machine.facts import MachineFacts, known

# Beyond that share of the cores, other programs show in the times of a run on the CPU.
_MUCH_PER_CORE = 0.5
# Of a run on a GPU, which needs one core, only where all cores are busy.
_MUCH_PER_CORE_ON_GPU = 1.0


def much_load_per_core(*, on_cpu: bool) -> float:
    """The load average, as a share of the cores, from which on others slow a run down."""
    return _MUCH_PER_CORE if on_cpu else _MUCH_PER_CORE_ON_GPU


def load_words(facts: MachineFacts, *, on_cpu: bool) -> str | None:
    """``load average 5.0 on 2 cores`` where that slows a run down; None where not, or not known."""
    average, cores = facts.load_1min, facts.identity.cores_logical
    if not known(average) or not known(cores):
        return None
    if average <= cores * much_load_per_core(on_cpu=on_cpu):
        return None
    return f"load average {average:.1f} on {cores} cores"


def slowdown(facts: MachineFacts, *, on_cpu: bool) -> float:
    """About how many times as long a run takes beside the load of this moment; at least 1.

    The scheduler shares the cores fairly among what wants one: a run on the CPU wants all of them,
    one on a GPU wants one. 1 where the load slows nothing down or is not known.
    """
    average, cores = facts.load_1min, facts.identity.cores_logical
    if load_words(facts, on_cpu=on_cpu) is None or not known(average) or not known(cores):
        return 1.0
    wanted = cores if on_cpu else 1
    return max(1.0, (average + wanted) / cores)
