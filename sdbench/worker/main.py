"""The start of a worker: arguments, watchdog, crash dumps; then a job, or serving forks."""

import argparse
import faulthandler
import json
import resource
import sys

from . import forkserver, watchdog
from .channel import Channel
from .job import run_job


def main(arguments: "list[str]") -> None:
    """Run one job read from standard input, or serve forks (``--serve``); never returns."""
    parser = argparse.ArgumentParser(prog="sdbench worker")
    parser.add_argument("--lifeline", type=int)
    parser.add_argument("--events", type=int)
    parser.add_argument("--serve", type=int)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    # A process of a worker's group (process_group.py) has none: the worker's watchdog ends it too.
    watchdog_pid = None if options.lifeline is None else watchdog.start(options.lifeline)
    watchdog.die_with_parent(options.parent)
    faulthandler.enable()  # a segmentation fault leaves the Python stack on stderr
    # A deliberate crash must not leave gigabytes of core file in the user's folder.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if options.serve is not None:
        forkserver.serve(options.serve)
    else:
        job = json.loads(sys.stdin.readline())
        run_job(job, Channel(options.events), watchdog_pid)
