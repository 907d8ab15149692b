"""One browser for all tests of a process: a second one cannot be started next to it."""

from collections.abc import Iterator

import pytest
from chromium import running
from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with running() as browser:
        yield browser
