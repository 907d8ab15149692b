"""One browser for all tests of a process: a second one cannot be started next to it."""

from collections.abc import Iterator

import pytest
from chromium import running
from playwright.sync_api import Browser, expect

expect.set_options(timeout=30_000)  # of a busy machine, 5 s are too few


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with running() as browser:
        yield browser
