"""Does telemetry change what it measures? The same passes watched and not watched, in turn.

    python tests/benchmarks/telemetry_aa.py [--device cuda] [--model synthetic/sd15] …  (see --help)

Steady medians until the half-width is 1%; the ratio belongs within 0.99 to 1.01 (PROTOCOL 8). Not
watched means more than an arm without telemetry: the process that samples, guards and paints is
held altogether. How: see ``lockstep.py``.
"""

from lockstep import compare_watching, sdbench_side

if __name__ == "__main__":
    compare_watching(__doc__, sdbench_side("watched"))
