"""Makes the locks in configs/stacks anew, with uv: python tools/lock_stacks.py [STACK]...

A lock pins what an environment's worker imports (sdbench.stacks.catalogue.REQUIRED) and all that it
needs, on one platform, with the hashes of all files: the torch of configs/stacks/stacks.toml,
everything else at the version of the tested set in configs/constraints. Needs uv and the network;
no Python of the environment's release, and not the platform. Look at what has changed (git diff)
before you commit it.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from sdbench.stacks.catalogue import (
    PLATFORMS,
    REQUIRED,
    ShippedStack,
    lock_path,
    read_lock,
    shipped_stack,
    shipped_stacks,
)
from sdbench.stacks.uv import find_uv

ROOT = Path(__file__).parent.parent
HEADER = """\
# {stack} on {platform}: made by tools/lock_stacks.py.
"""
# What the wheels of newer releases of torch ask for; uv assumes macOS 13 otherwise.
OLDEST_MACOS = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}


def lock(stack: ShippedStack, platform: str) -> None:
    """Write one lock."""
    pinned = (ROOT / "configs/constraints" / f"{stack.versions}.txt").read_text()
    with tempfile.TemporaryDirectory() as scratch:
        constraints, wanted = Path(scratch, "constraints.txt"), Path(scratch, "wanted.txt")
        constraints.write_text(re.sub(r"^torch==.*\n", "", pinned, flags=re.M))
        wanted.write_text("\n".join([f"torch=={stack.torch}", *REQUIRED[1:]]))
        done = subprocess.run(
            [
                *(find_uv(), "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
                *("--no-config", "--only-binary", ":all:", "--generate-hashes"),
                *("--python-version", stack.python, "--python-platform", PLATFORMS[platform][1]),
                *("--constraint", constraints, wanted),
            ],
            cwd=scratch,
            env={**os.environ, **OLDEST_MACOS},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    text = done.stdout
    if platform.startswith("linux"):
        # Its builds for the CPU go by the same version and are other files.
        text = re.sub(r"(?<=^torch==)(\S+)(?: \\\n    --hash=\S+)+", r"\1", text, flags=re.M)
    path = lock_path(stack, platform)
    path.write_text(HEADER.format(stack=stack.name, platform=platform) + text)
    print(f"{path.relative_to(ROOT)}: {len(read_lock(path).versions)} packages")


def main() -> None:
    """Make the locks of the environments named, or of all."""
    for stack in map(shipped_stack, sys.argv[1:] or shipped_stacks()):
        for platform in PLATFORMS:
            lock(stack, platform)


if __name__ == "__main__":
    main()
