"""What holds for every test: signals as a terminal leaves them, coverage of children, times."""

import atexit
import itertools
import json
import os
import re
import shutil
import signal
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest

# A job in the background, as in some CIs, ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.SIG_DFL)

# Pytest's processes share the cores, and BLAS's threads wait for each other by spinning: seen, the
# comparisons of images took more than twice the processor time with two threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# No test cuts the power (faulty_disk.py simulates that), so none waits for the disk: most of the
# time of a test of the store was that. What starts cold, as every process of a user does, waits.
os.fsync = os.fstat  # type: ignore[assignment]

# The tests' runs are not the user's own. One folder for all of pytest's processes.
if "SDBENCH_STATE" not in os.environ:
    os.environ["SDBENCH_STATE"] = tempfile.mkdtemp(prefix="sdbench-test-state-")
    atexit.register(shutil.rmtree, os.environ["SDBENCH_STATE"], ignore_errors=True)

_numbers = itertools.count()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's, without a link to the newest folder of each name: two changes of the disk."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    return tmp_path_factory.mktemp(f"{name}-{next(_numbers)}", numbered=False)


TIMES = "SDBENCH_TEST_TIMES"
"""Names a file that gets the seconds of each test's set-up, call and teardown."""


def pytest_configure(config: pytest.Config) -> None:
    """Count the lines of the processes that tests start, where lines are counted."""
    runs_tests = hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None)
    if "COVERAGE_CHECKOUT" in os.environ and runs_tests:
        # Only now: a worker of pytest-xdist is counted by pytest-cov.
        os.environ["COVERAGE_PROCESS_START"] = str(Path(__file__).with_name("coverage.rc"))
    if TIMES in os.environ and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Times(Path(os.environ[TIMES])))


class _Times:
    """Keeps how long everything took."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[str, dict[str, float]] = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid][report.when or ""] = round(report.duration, 4)

    def pytest_sessionfinish(self) -> None:
        before = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._path.write_text(json.dumps(before | self._seconds, indent=0))
