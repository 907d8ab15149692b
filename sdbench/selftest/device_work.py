"""What one worker does with the device: it takes memory and gives it back, then times a kernel."""

from sdbench.records import InstrumentLine
from sdbench.selftest.memory_counters import device_questions, watch_memory
from sdbench.selftest.synchronisation import KERNEL_S, kernel_lines
from sdbench.selftest.workers import Setup


def device_lines(setup: Setup) -> list[InstrumentLine]:
    """The device's memory, where it has counters of its own, and its synchronisation.

    One worker does both, because starting one that imports torch takes seconds.
    """
    lines: list[InstrumentLine] = []
    report = None
    if setup.device != "cpu":
        questions = device_questions(setup.device)
        part = "memory-and-kernel"
        lines, report = watch_memory(setup, part, questions, where="device", seconds=KERNEL_S)
    if report is None:
        report = setup.start("kernel", seconds=KERNEL_S)
    return [*lines, *kernel_lines(setup.device, report)]
