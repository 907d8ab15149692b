"""Texts, each way of being wrong once: of programs, to be written by us, as names of files."""

import re
from collections.abc import Iterator
from typing import Any

from fuzz_batch_files import Group, Item, file_of
from fuzz_direct_writers import NAMES_INSIDE
from fuzz_documents import encoded
from fuzz_hostile import HOSTILE
from fuzz_trees import Odd
from fuzz_values import DEEP, TEXTS


def groups() -> Iterator[Group]:
    """All groups."""
    yield "log", "crashes", [*_crashes()]
    yield "macos", "texts", [*_macos()]
    yield "written", "texts", [*_written()]
    yield "opened", "names", [*_opened()]


# --- logs -----------------------------------------------------------------------------------------


def _crashes() -> Iterator[Item]:
    body: dict[str, Any] = {
        "procName": "python3.11",
        "exception": {"type": "EXC_CRASH", "signal": "SIGABRT", "codes": "0x0"},
        "termination": {"namespace": "SIGNAL", "indicator": "Abort trap: 6", "reasons": ["why"]},
        "asi": {"libsystem_c.dylib": ["abort() called", "failed assertion"]},
        "exceptionReason": {"composed_message": "it broke", "name": "NSException"},
        "faultingThread": 0,
        "usedImages": [{"name": "libtorch_cpu.dylib"}, {"path": "/x/y"}],
        "threads": [
            {"triggered": True, "queue": "q", "frames": [{"imageIndex": 0, "symbol": "at::mps"}]}
        ],
        "lastExceptionBacktrace": [{"imageIndex": 1}, {"imageIndex": 9}, 3],
    }
    head = encoded({"name": "python3.11", "os_version": "macOS 14.1 (23B74)"}) + b"\n"
    text = encoded(body)
    yield file_of("sound.ips", head + text, True)
    others: tuple[Any, ...] = (None, [], {}, "x", 7, [3], [{}], {"zz": [[]]}, True)
    parts: tuple[Any, ...] = (None, 3, [], {}, "x", [{"imageIndex": "x"}], [[]], [{"symbol": 3}])
    for at, key in enumerate(body):
        for number, value in enumerate(others):
            yield file_of(f"k{at}-{number}.ips", head + encoded({**body, key: value}), None)
        less = {name: value for name, value in body.items() if name != key}
        yield file_of(f"g{at}.ips", head + encoded(less), None)
        deep = text.replace(f'"{key}": '.encode(), f'"{key}": {DEEP}'.encode())
        yield file_of(f"d{at}.ips", head + deep, None)
        long = text.replace(f'"{key}": '.encode(), f'"{key}": {"9" * 5000}'.encode())
        yield file_of(f"l{at}.ips", head + long, None)
    thread = body["threads"][0]
    for at, value in enumerate(parts):
        for key in ("frames", "queue", "triggered"):
            made = {**body, "threads": [{**thread, key: value}], "lastExceptionBacktrace": []}
            yield file_of(f"f{at}-{key}.ips", head + encoded(made), None)
    for at in range(0, len(text), 61):
        yield file_of(f"cut{at}.ips", head + text[:at], None)
        yield file_of(
            f"triggered{at}.ips", head + text[:at] + b'"triggered": true, "frames": [', None
        )
    yield file_of("deep.ips", DEEP.encode() + b"\n" + DEEP.encode(), False)
    words = (
        b"Process: python [1]\nException Type:  EXC_CRASH (SIGABRT)\nTermination Reason: x\n",
        b"Exception Type: EXC_X\nThread 0 Crashed:\n0 a 0x1 b + 1\n1 ??? 0x2 0x3\n\nThread 1:\n",
        b"Application Specific Information:\nabort() called\nsaid\n\n",
    )
    for at in range(1, 1 << len(words)):
        chosen = [word for number, word in enumerate(words) if at >> number & 1]
        yield file_of(f"text{at}.log", b"".join(chosen), None)


# --- what programs of macOS say -------------------------------------------------------------------

_SAID: dict[str, tuple[str, ...]] = {
    "sysctl": ("hw.memsize: 17179869184\nhw.model = Mac14,2\nkern.x: 1 -> 2\n",),
    "pressure": ("1\n", "2", "4"),
    "swap": ("total = 1024.00M  used = 512,25M  free = 511.75M  (encrypted)",),
    "load": ("{ 1.84 1.90 2.01 }", "{ 1,84 1,90 2,01 }"),
    "vm_stat": (
        (
            "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:     100.\n"
            '"Translation faults":  5.\nPages occupied by compressor: 7.\n'
        ),
    ),
    "counts": (
        (
            "The system has 17179869184 (1048576 pages with a page size of 16384).\n"
            "Pages free: 100 \nPages used by compressor: 9 \n"
        ),
    ),
    "free": ("System-wide memory free percentage: 56%\n",),
    "total": ("The system has 17179869184 (1048576 pages with a page size of 16384).\n",),
    "power": (
        "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t87%; discharging; 3:12\n",
        " -InternalBattery-0 (id=1)\t87%; charging; 1:12 remaining present: true\n",
        " -InternalBattery-0 (id=1)\t50%; discharging; 1:12 remaining present: true\n",
        "Now drawing from 'UPS Power'\n -InternalBattery-0\t7%; AC attached;\n",
    ),
    "speed": ("CPU_Speed_Limit \t= 100\n",),
    "df": (
        (
            "Filesystem 1024-blocks Used Available Capacity iused ifree %iused Mounted on\n"
            "/dev/disk3s1s1 482797652 9384208 100000 9% 356 99 0% /\n"
            "/dev/disk3s5 482797652 9384208 200000 9% 356 99 0% /System/Volumes/Data\n"
        ),
        "Filesystem Size Used Avail Capacity Mounted on\n/dev/disk1 460Gi 9.0Gi 1.5Ti 9% /\n",
    ),
    "thermal": tuple(f"com.apple.system.thermalpressurelevel {n}\n" for n in range(5)),
    "low": (
        "AC Power:\n lowpowermode         0\nBattery Power:\n lowpowermode   1\n",
        "System-wide power settings:\nCurrently in use:\n powermode 1\n",
        "Currently in use:\n powermode 2\n * lowpowermode 0\n",
    ),
    "low_battery": ("AC Power:\n lowpowermode         0\nBattery Power:\n lowpowermode   1\n",),
    "refusal": ("sysctl: hw.x: Operation not permitted", "sysctl: unknown oid 'hw.x'"),
}
_UNLIKELY = {
    "refusal": ("x",),
    "power": ("Now drawing from 'AC Power'\n", "-InternalBattery-0 present: false\n", "x"),
    "low": ("AC Power:\n lowpowermode 7\n", "Battery Power:\n powermode 1\n", ""),
    "thermal": ("com.apple.system.thermalpressurelevel 5\n", "x 1\n", ""),
}
_IN_PLACE = ("-1", "9" * 90, "0", "101", "1e9", "", "x", "9" * 12, "123456.5")


def _macos() -> Iterator[Item]:
    """Sound answers, then each number in them as another, each line gone, and cut anywhere."""
    for reader, answers in _SAID.items():
        number = 0
        for answer in answers:
            believed = None if reader == "refusal" else True
            yield file_of(f"{reader}-s{number}", answer.encode(), believed)
            for found in re.finditer(r"-?[0-9]+", answer):
                for text in _IN_PLACE:
                    number += 1
                    made = answer[: found.start()] + text + answer[found.end() :]
                    yield file_of(f"{reader}-n{number}", made.encode(), None)
            for at in range(0, len(answer), 7):
                number += 1
                yield file_of(f"{reader}-c{number}", answer[:at].encode(), None)
            lines = answer.splitlines(keepends=True)
            for at in range(len(lines)):
                number += 1
                left = "".join(lines[:at] + lines[at + 1 :])
                yield file_of(f"{reader}-l{number}", left.encode(), None)
            number += 1
        for at, text in enumerate((*_UNLIKELY.get(reader, ()), "\xff\0", "9" * 5000)):
            yield file_of(f"{reader}-u{at}", text.encode(), None)


# --- what is written and opened -------------------------------------------------------------------


def _written() -> Iterator[Item]:
    for at, text in enumerate((*TEXTS, *HOSTILE, "\ud800 x")):
        yield file_of(f"t{at}", text.encode("utf-8", "surrogatepass"), True)


def _opened() -> Iterator[Item]:
    files: dict[str, bytes | Odd] = {
        "in/sound": b"x",
        "outside": b"x",
        "in/below/file": b"x",
        "in/link": Odd("link", "../outside"),
    }
    for at in range(len(NAMES_INSIDE)):
        says = "not a regular file but a link" if NAMES_INSIDE[at] == "link" else ""
        yield Item(str(at), files, at == 0, says)
