"""``python -I -S <this file> BYTES``: hold that much memory until standard input closes.

Standard library alone. It says on standard output how much it holds while it takes it. Whoever
started it holds the other end of standard input, so it cannot outlive that process. Each page
holds random bytes of its own page's length, which neither macOS's compressor nor zram can shrink
(both work page by page, so copies of one random block are as good as fresh ones and made at
memory speed). Every page is written again occasionally, a little each second, so that the system
cannot page it out for good: 256 MiB a second at most (about 0.4% of a core).
"""

import contextlib
import os
import select
import sys

_BLOCK_BYTES = 64 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LEAST_ROUND_S = 60
_BLOCKS_A_SECOND = 4


def main(hold_bytes: int) -> None:
    """Take the memory, say so, keep it awake."""
    # Should memory run out all the same, this process is the one to go (Linux).
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    os.nice(10)
    source = os.urandom(min(hold_bytes, _BLOCK_BYTES))
    blocks: list[bytearray] = []
    held = 0
    while held < hold_bytes:
        if _let_go(0):
            return
        blocks.append(bytearray(source[: hold_bytes - held]))
        held += len(blocks[-1])
        os.write(1, f"{held}\n".encode())
    turn, round_s = 0, max(_LEAST_ROUND_S, -(-len(blocks) // _BLOCKS_A_SECOND))
    while not _let_go(1):
        for block in blocks[turn % round_s :: round_s]:
            pages = len(range(0, len(block), _PAGE_BYTES))
            memoryview(block)[::_PAGE_BYTES] = bytes(pages)
        turn += 1


def _let_go(patience_s: float) -> bool:
    """Whether standard input has been closed; waits that long for it."""
    ready, _, _ = select.select([0], [], [], patience_s)
    return bool(ready) and not os.read(0, 1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
