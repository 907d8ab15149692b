"""Screenshots of a board's three kinds of pages at two widths, of made-up rows.

python tests/benchmarks/board_screenshots.py docs/screenshots
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

_CHIPS = ("Made-up chip A", "Made-up chip B", "Made-up chip C")
_WIDTHS = {1280: 1000, 390: 1100}


def main() -> None:
    """Write ``board-PAGE-WIDTH.webp``."""
    sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("browser", "unit")]
    from board_factories import many_rows, site_of
    from chromium import running

    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as place, running() as browser:
        site_of(many_rows(36, _CHIPS), Path(place))
        site = Path(place) / "site"
        files = {
            "index": site / "index.html",
            "model": min((site / "models").iterdir()),
            "machine": min((site / "machines").iterdir()),
        }
        for name, file in files.items():
            for width, height in _WIDTHS.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(file.as_uri())
                page.wait_for_load_state("networkidle")
                data = page.screenshot(full_page=name != "index" and width > 400)
                picture = Image.open(io.BytesIO(data))
                picture = picture.crop((0, 0, width, min(picture.height, 2 * height)))
                picture.save(out / f"board-{name}-{width}.webp", quality=75, method=6)
                page.close()


if __name__ == "__main__":
    main()
