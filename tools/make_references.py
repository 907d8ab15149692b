"""Fills ``sdbench/correctness/data`` with the CPU's images for shipped configurations.

    python tools/make_references.py quick default mps-docs

What is there already is left alone. What is missing is computed as a run would compute it, into the
cache, so this can be stopped and begun again; then it is packed: the latents of at most six steps
and the image in 8 bits. ``--prune`` removes what none of the named configurations needs.
"""

import argparse
import json
import shutil
import sys

import msgspec
import numpy as np
import psutil
from safetensors.numpy import save_file

from sdbench import machine
from sdbench.correctness.artifact_files import load_tensors
from sdbench.correctness.measures import to_pixels
from sdbench.correctness.references import IMAGE_FILE, PACKAGED, floor_file
from sdbench.models.resolve import find_model
from sdbench.plan.config import Config
from sdbench.plan.for_model import shipped_for_its_model
from sdbench.plan.order import make_plan
from sdbench.process.guard import MemoryGuard
from sdbench.process.interrupt import InterruptFlag
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import Dtype
from sdbench.runner.reference_maker import Group, ReferenceMaker, ReferenceStore
from sdbench.stacks import resolve_stack

STACK = "current"
DTYPES: tuple[Dtype, ...] = ("float32", "float16", "bfloat16")
MOST_STEPS = 6
NO_LIMIT_S = 1e9


def main() -> int:
    """Make what the configurations named on the command line need."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("configs", nargs="+", help="names of shipped configurations")
    parser.add_argument("--prune", action="store_true", help="remove what these do not need")
    options = parser.parse_args()
    used: set[str] = set()
    for config in map(shipped_for_its_model, options.configs):
        shelf, groups = shelf_for(config)
        make(shelf, groups)
        for group in groups:
            used.update(pack(shelf, group, image) for image in range(config.images))
    for folder in sorted(PACKAGED.glob("*/")) if options.prune else []:
        if folder.name not in used:
            shutil.rmtree(folder)
    size = sum(path.stat().st_size for path in PACKAGED.rglob("*") if path.is_file())
    sys.stdout.write(f"{PACKAGED.name}: {len(used)} needed, {size / 1e6:.1f} MB in all\n")
    return 0


def shelf_for(config: Config) -> tuple[ReferenceStore, dict[Group, tuple[Dtype, ...]]]:
    """The references of a configuration, for whatever dtype it may be run in."""
    reference = msgspec.structs.replace(config.reference, budget_s=NO_LIMIT_S)
    shelf = ReferenceStore(
        msgspec.structs.replace(config, reference=reference),
        find_model(config.model).prepare(),
        {STACK: resolve_stack(STACK)},
    )
    plan = make_plan(config, "cpu", memory_bytes=psutil.virtual_memory().total)
    return shelf, {Group.of_case(STACK, planned.case): DTYPES for planned in plan.cases}


def make(shelf: ReferenceStore, groups: dict[Group, tuple[Dtype, ...]]) -> None:
    """Compute what is missing.

    Raises:
        SystemExit: something could not be computed.
    """
    executor, probe = ProcessExecutor(), machine.open_memory_probe()
    guard = MemoryGuard.from_config(
        shelf.config.guard, psutil.virtual_memory().total, PACKAGED.parent
    )
    try:
        with InterruptFlag() as flag:
            ReferenceMaker(
                shelf=shelf,
                executor=executor,
                probe=probe,
                guard=guard,
                showing=lambda doing, left_s: None,
                interrupted=lambda: flag.requested,
                cores=psutil.cpu_count(logical=False) or 1,
                start="spawn",
            ).make(groups)
    finally:
        executor.close()
        probe.close()
    for group, why in shelf.absent.items():
        raise SystemExit(f"{shelf.config.name}, {group.resolution}: {why}")


def pack(shelf: ReferenceStore, group: Group, image: int) -> str:
    """Put a computed reference into the package, if it is not there; the name of its folder."""
    folder = PACKAGED / shelf.settings(group, image).key()
    if (folder / IMAGE_FILE).is_file():
        return folder.name
    own = shelf.own_folder(group, image)
    tensors = load_tensors(own / IMAGE_FILE)
    assert tensors is not None, f"{own}: not readable"
    chosen = spread(len(tensors.kept), MOST_STEPS if image == 0 else 1)
    packed = {
        "latents": tensors.arrays["latents"][:, chosen],
        "pictures": to_pixels(tensors.arrays["pictures"][0]).transpose(2, 0, 1)[None],
    }
    if image == 0:  # the others are of the same prompts; their text would only be heavy
        packed |= tensors.text
    kept = [tensors.kept[index] for index in chosen]
    metadata = {
        name: json.dumps(value) for name, value in {**tensors.metadata, "kept": kept}.items()
    }
    folder.mkdir(parents=True)
    save_file(
        {name: np.ascontiguousarray(array) for name, array in packed.items()},
        folder / IMAGE_FILE,
        metadata,
    )
    (folder / IMAGE_FILE).chmod(0o644)
    for dtype in DTYPES if image == 0 else ():
        shutil.copy(floor_file(own, dtype), floor_file(folder, dtype))
    return folder.name


def spread(count: int, most: int) -> list[int]:
    """At most that many of the numbers below ``count``: the last, the first, and between."""
    if most == 1 or count == 1:
        return [count - 1]
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


if __name__ == "__main__":
    sys.exit(main())
