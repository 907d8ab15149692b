"""Does telemetry change what it measures? The same passes watched and not watched, in turn.

    python tests/benchmarks/telemetry_aa.py --resolution 192x192 --steps 3 --passes 130

(``--device``, ``--model`` and more: see ``--help``.) Such passes take a fifth of a second on two
cores, which is four periods of the sampler. Longer ones cost precision: what the rest of the
machine does wanders over seconds, and cancels the better the sooner a watched pass is followed by
one that is not. A block takes a minute, because the interval is over blocks and few of them make
it wide. What falls due while the watcher is held is read as soon as it goes on, so telemetry weighs
rather more here than in a run.

Steady medians until the half-width is 1%; the ratio belongs within 0.99 to 1.01 (PROTOCOL 8). Not
watched means more than a variant without telemetry: the process that samples, guards and paints is
held altogether. How: see ``lockstep.py``.
"""

from lockstep import compare_watching, option_parser, sdbench_side

if __name__ == "__main__":
    compare_watching(option_parser(__doc__).parse_args(), sdbench_side("watched"))
