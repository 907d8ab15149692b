"""Prints the table of tests/proof/bundles.md: forged bundles, and why each is refused.

python tools/bundle_table.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "unit"))

from forged_bundles import FORGERIES, QUICK, good_members  # noqa: E402

from sdbench.bundles.verify import verify  # noqa: E402
from sdbench.words import printable  # noqa: E402


def main() -> None:
    """One row a forgery, in the order of the list."""
    members = good_members(QUICK)
    print("| # | forged | code | reason that is printed |")
    print("|---:|---|---|---|")
    for number, forgery in enumerate(FORGERIES, start=1):
        found = verify(forgery.forge(dict(members)), "forged.sdbench.zip")
        reason = printable(found.reason or "accepted").replace("|", "\\|").replace("*", "\\*")
        print(f"| {number} | {forgery.what} | `{found.code}` | {reason} |")


if __name__ == "__main__":
    main()
