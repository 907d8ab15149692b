"""The browser that is on the machine: found, started, and watched."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

REQUIRED = "SDBENCH_TEST_BROWSER"
"""Set to anything (CI does): without a browser the tests fail instead of being skipped."""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> str | None:
    """The path of the system's Chromium or Chrome."""
    found = (shutil.which(name) for name in _NAMES)
    return next(
        (path for path in (*found, *_APPLICATIONS) if path is not None and Path(path).exists()),
        None,
    )


@contextmanager
def running() -> Iterator[Browser]:
    """A headless browser; skips the tests where there is none."""
    path = find()
    if path is None:
        words = f"no Chromium or Chrome found (looked for {', '.join(_NAMES)})"
        if os.environ.get(REQUIRED):
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_FLAGS])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, and what it should never do: complain, or ask for anything but itself."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def opened(
    browser: Browser,
    file: Path,
    *,
    size: tuple[int, int] = (1280, 900),
    dark: bool = False,
    scripted: bool = True,
    within: Path | None = None,
) -> Iterator[Watched]:
    """The file in a browser; afterwards it must have been quiet and have asked for nothing.

    Of a site in a folder, ``within``, pages may ask for files in it.
    """
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripted,
    )
    page, address = context.new_page(), file.resolve().as_uri()
    watched = Watched(page)
    folder = None if within is None else within.resolve().as_uri()

    def route(route: Route) -> None:
        asked = route.request.url.partition("#")[0]
        if asked == address or (folder is not None and asked.startswith(f"{folder}/")):
            route.continue_()
        else:
            watched.requests.append(route.request.url)
            route.abort()

    def heard(message: ConsoleMessage) -> None:
        watched.complaints.append(f"{message.type}: {message.text}")

    context.route("**/*", route)
    page.on("console", heard)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on("dialog", lambda dialog: watched.complaints.append(f"dialog: {dialog.message}"))
    page.goto(address)
    yield watched
    context.close()
    assert watched.complaints == []
    assert watched.requests == []
