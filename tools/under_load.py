"""Runs a command while other processes keep every core busy, to find tests that depend on time.

python tools/under_load.py [--times N] COMMAND...

Stops at the first run that fails, with its exit code.
"""

import argparse
import os
import subprocess
import sys
import time


def main() -> int:
    """Keep the cores busy, run the command, end what was started."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    spin = [sys.executable, "-I", "-c", "while True: pass"]
    busy = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        for number in range(1, options.times + 1):
            began = time.monotonic()
            code = subprocess.run(options.command, check=False).returncode
            print(f"under load, run {number}: exit code {code}, {time.monotonic() - began:.0f} s")
            if code:
                return code
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
