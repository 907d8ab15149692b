"""Reduces coverage to what is compared, and compares two.

python tools/coverage_table.py reduce COVERAGE_JSON OUTPUT
python tools/coverage_table.py compare BEFORE AFTER

Each module has the number of its statements and branches, and how many of both the tests ran.
``compare`` prints every folder and every module that has become lower, and fails if there is one.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

Table = dict[str, list[int]]
"""Of each module: lines run, lines, branches taken, branches."""


def reduce(document: Path) -> Table:
    """The table of ``coverage json``'s output."""
    files = json.loads(document.read_text())["files"]
    return {
        "sdbench/" + name.rpartition("sdbench/")[2]: [
            entry["summary"][key]
            for key in ("covered_lines", "num_statements", "covered_branches", "num_branches")
        ]
        for name, entry in sorted(files.items())
    }


def share(counts: list[int]) -> float:
    """Lines and branches run, in per cent, as coverage.py counts them."""
    lines, statements, taken, branches = counts
    whole = statements + branches
    return 100.0 if not whole else 100.0 * (lines + taken) / whole


def compare(before: Table, after: Table) -> list[str]:
    """Prints both by folder; the modules that have become lower."""
    folders: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([0] * 4, [0] * 4))
    for at, table in enumerate((before, after)):
        for module, counts in table.items():
            folder = module.split("/")[1] if module.count("/") > 1 else "(top)"
            for name in (folder, "all"):
                folders[name][at][:] = [
                    a + b for a, b in zip(folders[name][at], counts, strict=True)
                ]
    print(f"{'folder':14} {'before':>8} {'after':>8}")
    for folder, (old, new) in sorted(folders.items(), key=lambda item: (item[0] == "all", item[0])):
        print(f"{folder:14} {share(old):7.2f}% {share(new):7.2f}%")
    gone = sorted(set(before) - set(after))
    if gone:
        print(f"not compared, since not there any more: {', '.join(gone)}")
    lower = [] if len(gone) < len(before) else ["no module of the table is there any more"]
    for module in sorted(before):
        if module in after and share(after[module]) < share(before[module]) - 1e-9:
            lower.append(f"{module}: {share(before[module]):.2f}% → {share(after[module]):.2f}%")
    return lower


def main() -> None:
    """Reduce or compare."""
    verb, first, second = sys.argv[1:]
    if verb == "reduce":
        table = reduce(Path(first))
        Path(second).write_text(
            "{\n" + ",\n".join(f"{json.dumps(k)}: {v}" for k, v in table.items()) + "\n}\n"
        )
        return
    lower = compare(json.loads(Path(first).read_text()), json.loads(Path(second).read_text()))
    for line in lower:
        print(f"lower: {line}")
    sys.exit(1 if lower else 0)


if __name__ == "__main__":
    main()
