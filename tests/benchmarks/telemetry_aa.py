"""Does telemetry change what it measures? The same worker with telemetry on and off, in turn.

    python tests/benchmarks/telemetry_aa.py [--device cuda] [--model synthetic/sd15] …  (see --help)

Steady medians until the half-width is 1%; the ratio belongs within 0.99 to 1.01 (PROTOCOL 8). How:
see ``lockstep.py``.
"""

from lockstep import compare, sdbench_side

if __name__ == "__main__":
    compare(__doc__, sdbench_side("on", telemetry=True), sdbench_side("off", telemetry=False))
