"""What importing the stack costs a worker: CPU seconds of fresh processes, variants in turn.

    python tests/benchmarks/start_up.py [--rounds 5]

CPU time of the process is given beside wall time, because imports do not wait for anything: on a
busy machine it is the figure that can be compared. Each variant is what could be left out:

as it is         ``worker/pipelines/`` as shipped
one pipeline     without the classes of SDXL and of schedulers that no case asks for
collector on     with Python's garbage collector on while importing, as before
without scipy    as if scipy were not installed (diffusers' and transformers' own switch)
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

_WORKER = Path(__file__).parents[2] / "sdbench" / "worker"
_BEGIN = f"""
import importlib.util, os, resource, sys, time
began = time.perf_counter()
spec = importlib.util.spec_from_file_location(
    "sdbench_worker", {str(_WORKER / "__init__.py")!r},
    submodule_search_locations=[{str(_WORKER)!r}])
package = importlib.util.module_from_spec(spec)
sys.modules["sdbench_worker"] = package
spec.loader.exec_module(package)
from sdbench_worker.pipelines import stack as pipelines
"""
_END = """
used = resource.getrusage(resource.RUSAGE_SELF)
with open("/proc/self/statm") as told:
    resident = int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
print(time.perf_counter() - began, used.ru_utime + used.ru_stime, resident)
"""
VARIANTS = {
    "as it is": "pipelines.import_stack()",
    "one pipeline": """
pipelines.STACK_CLASSES = {
    "diffusers": ("StableDiffusionPipeline", "DDIMScheduler"),
    "transformers": ("CLIPTextModel", "CLIPTokenizer"),
}
pipelines.import_stack()
""",
    "collector on": "pipelines._import_stack()",
    "without scipy": """
import diffusers.utils.import_utils, transformers.utils, transformers.utils.import_utils
diffusers.utils.import_utils._scipy_available = False
for module in (transformers.utils, transformers.utils.import_utils):
    module.is_scipy_available = lambda: False
pipelines.import_stack()
""",
}


def main() -> None:
    """Print a line for each variant."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    told: dict[str, list[tuple[float, float, float]]] = {name: [] for name in VARIANTS}
    for turn in range(rounds):
        order = [*VARIANTS] if turn % 2 == 0 else [*reversed(VARIANTS)]
        for name in order:
            program = _BEGIN + VARIANTS[name] + _END
            done = subprocess.run(
                [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True
            )
            wall_s, cpu_s, resident_mb = map(float, done.stdout.split()[-3:])
            told[name].append((wall_s, cpu_s, resident_mb))
    print(f"{'':<16}{'CPU s':>8}{'least':>8}{'wall s':>8}{'MB':>8}   of {rounds} rounds")
    for name, entries in told.items():
        walls, cpus, sizes = zip(*entries, strict=True)
        middle = (statistics.median(cpus), min(cpus), statistics.median(walls))
        cells = "".join(f"{value:8.2f}" for value in middle)
        print(f"{name:<16}{cells}{statistics.median(sizes):8.0f}")


if __name__ == "__main__":
    main()
