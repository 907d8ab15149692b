"""The page: sections rendered from the story and put into ``base.html``.

``base.html`` is given ``story``, ``sections`` (in order; ``id``, ``title``, ``html``), ``css``
(figures' colours first, then ``report.css``), ``script`` (``report.js``) and ``version``. A
section's template is ``sections/NAME.html`` and is given ``story``, ``run`` and what it needs beside
them; the gallery's is ``gallery.html`` with ``gallery`` from ``gallery.gallery_of(loaded, run)``.
Tables that can be sorted are ``<table class="sortable">`` with ``data-value`` on cells whose text
does not sort by itself.
"""

from collections.abc import Sequence

from sdbench.report.story import Story
from sdbench.store import LoadedRun


def html_report(runs: Sequence[LoadedRun], story: Story | None = None) -> str:
    """One page about one run, or about several with their comparison first.

    ``story`` is what ``tell(runs)`` gave, where somebody has it already.
    """
    raise NotImplementedError
