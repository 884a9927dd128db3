"""Fixtures that serve the app as a person would and open it in the system's Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = (
    f"No Chromium in PATH (looked for {', '.join(NAMES)}), so the app is not tested in a browser."
    " On Debian and Ubuntu: apt-get install chromium"
)
START_SECONDS = 90.0


def find_chromium() -> str | None:
    """Path of the system's Chromium or Chrome, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def require_chromium() -> str:
    """Path of Chromium; without one the test is skipped with a reason, but fails where CI=true."""
    path = find_chromium()
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING, pytrace=False)
        pytest.skip(MISSING)
    return path


def pytest_report_header() -> str:
    """Says at the top of a run which browser it has."""
    return f"chromium: {find_chromium() or MISSING}"


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(command: Callable[[int], list[str]], log: Path) -> Iterator[str]:
    """Run the Streamlit server that `command(port)` starts; give its address; end it with its children.

    Its output goes to `log`, and into the error when it does not answer within START_SECONDS.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "STREAMLIT_SERVER_HEADLESS": "true",
        "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
        "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    }
    with log.open("wb") as output:
        # A session of its own, so that one signal reaches the server and all that it started.
        server = subprocess.Popen(
            command(port),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _healthy(address):
            if server.poll() is not None or time.monotonic() > deadline:
                ended = (
                    f"ended with {server.returncode}" if server.returncode is not None else "hangs"
                )
                pytest.fail(
                    f"The app's server {ended}:\n{log.read_text(errors='replace')}", pytrace=False
                )
            time.sleep(0.1)
        yield address
    finally:
        _end(server)


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ask the server's whole process group to stop, and insist after ten seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    server.wait(timeout=10)


@pytest.fixture(scope="session")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app, served by the command that a person types, once for the whole run."""
    require_chromium()
    log = tmp_path_factory.mktemp("app") / "server.log"
    with served(
        lambda port: [sys.executable, "-m", "workbench.cli.main", "app", "--port", str(port)], log
    ) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running Chromium.

    One a module, not one a session: while Playwright is open the main thread has a running event loop,
    and Orbax, among others, cannot start its own there.
    """
    executable = require_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of 1440 x 900 CSS pixels with a profile of its own; it waits up to 30 s for things."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()
