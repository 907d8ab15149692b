"""An environment on a host, made by uv there: sdbench and the packages of a lock file."""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdbench import __version__
from sdbench.fleet.host_check import UnfitHostError
from sdbench.fleet.hosts_file import Host
from sdbench.stacks.catalogue import PLATFORMS, REQUIRED, lock_path, shipped_stack
from sdbench.stacks.uv import problem_in

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

_PLATFORMS = {"Darwin arm64": "macos-arm64", "Linux x86_64": "linux-x86_64"}
_FOLDER = ".cache/sdbench-fleet"
# Both are read by sh from standard input; what differs comes as arguments.
_LOOK = """
uname -sm
cd || exit
if [ -e "$1/ready" ]; then echo ready; else echo absent; fi
for uv in uv "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv" /opt/homebrew/bin/uv /usr/local/bin/uv
do command -v "$uv" && exit; done
exit 0
"""
_INSTALL = """
set -eu
cd
uv=$1 folder=$2 python=$3
shift 3
trap 'rm -rf "$folder.new" "$folder.lock"' EXIT
rm -rf "$folder.new"
mkdir -p "$(dirname "$folder")"
cat > "$folder.lock" <<'END_OF_LOCK'
@LOCK@
END_OF_LOCK
"$uv" venv --quiet --python "$python" "$folder.new" < /dev/null
"$uv" pip install --quiet --python "$folder.new/bin/python" --only-binary :all: \\
  --constraint "$folder.lock" "$@" < /dev/null
rm -rf "$folder"
mv "$folder.new" "$folder"
: > "$folder/ready"
"""


@dataclass(frozen=True)
class Environment:
    """An environment of a host; ``disk_bytes`` is what it takes, None where it is there."""

    host: Host
    stack: str
    platform: str
    uv: str | None
    disk_bytes: float | None

    @property
    def folder(self) -> str:
        """Where it is, from the home folder on."""
        return f"{_FOLDER}/{self.stack}-{__version__}"

    @property
    def python(self) -> str:
        """Its interpreter."""
        return f"~/{self.folder}/bin/python"


async def find_environment(host: Host, connection: "SSHClientConnection") -> Environment:
    """The environment that a host needs, there or not.

    Raises:
        UnfitHostError: it cannot be made there.
    """
    assert host.stack is not None
    wanted = Environment(host, host.stack, "", None, None)
    done = await connection.run(shlex.join(["sh", "-s", "--", wanted.folder]), input=_LOOK)
    lines = str(done.stdout or "").split("\n")
    system, state = [*lines, "", ""][:2]
    platform = _PLATFORMS.get(system.strip())
    if platform is None:
        raise UnfitHostError(
            f"stack: environments are made for {' and '.join(PLATFORMS)}, and it is "
            f"{system.strip() or 'unknown'}: name an interpreter with `python`"
        )
    uv = next((line.strip() for line in lines[2:] if line.strip()), None)
    if state == "ready":
        return Environment(host, host.stack, platform, uv, None)
    if uv is None:
        raise UnfitHostError(
            f"stack: no uv there: {host.ssh_words} "
            f"{shlex.quote('curl -LsSf https://astral.sh/uv/install.sh | sh')}"
        )
    disk_bytes = float(shipped_stack(host.stack).disk_bytes[platform])
    return Environment(host, host.stack, platform, uv, disk_bytes)


async def install(environment: Environment, connection: "SSHClientConnection") -> None:
    """Make an environment; nothing half made is left under its name.

    Raises:
        UnfitHostError: it could not be made.
    """
    assert environment.uv is not None
    command = shlex.join(
        [
            *("sh", "-s", "--", environment.uv, environment.folder),
            shipped_stack(environment.stack).python,
            *(*REQUIRED, f"sdbench[fleet]=={__version__}"),
        ]
    )
    done: Any = await connection.run(command, input=_install_script(environment))
    if done.exit_status != 0:
        why = problem_in(str(done.stderr or "")) or f"uv ended with {done.exit_status}"
        raise UnfitHostError(f"stack: {environment.stack} could not be installed there: {why}")


def _install_script(environment: Environment) -> str:
    stack = shipped_stack(environment.stack)
    lock = lock_path(stack, environment.platform).read_text(encoding="utf-8")
    return _INSTALL.replace("@LOCK@", lock.rstrip("\n"))
