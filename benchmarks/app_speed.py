"""How long the app takes from its start to a page, and from a click to a translation.

    python benchmarks/app_speed.py [--repeats 3] [--json]

Starts `workbench app` and opens it in Chromium (playwright, from the test requirements), which is started before.
*Page*: from the server's start until the Translate page with its text and button stands there. *Translation*: from
the click on Translate until the translation stands there. Once with an empty compilation cache and once more, by a
new server, with what the first one left there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

_ROOT = Path(__file__).parent.parent
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 120.0


def measure(browser: Browser, cache: Path) -> dict[str, float]:
    """Seconds to the page and to the first translation, of a new server with this compilation cache."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "STREAMLIT_SERVER_HEADLESS": "true",
        "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    }
    command = [sys.executable, "-m", "workbench.cli.main", "app", "--port", str(port)]
    page = browser.new_page()
    began = time.perf_counter()
    server = subprocess.Popen(
        command,
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not _answers(address):
            if server.poll() is not None or time.perf_counter() - began > _PATIENCE:
                raise SystemExit("The app's server did not start.")
            time.sleep(0.02)
        page.goto(address)
        button = page.get_by_test_id("stBaseButton-primary")
        button.wait_for(timeout=1000 * _PATIENCE)
        shown = time.perf_counter()
        button.click()
        page.get_by_test_id("translation").first.wait_for(timeout=1000 * _PATIENCE)
        translated = time.perf_counter()
    finally:
        page.close()
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=20)
    return {"page": shown - began, "translation": translated - shown}


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    chromium = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if chromium is None:
        raise SystemExit(f"No Chromium in PATH (looked for {', '.join(_NAMES)}).")
    found: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    load = os.getloadavg()[0]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(args.repeats):
            with tempfile.TemporaryDirectory() as cache:
                for kind in ("cold", "warm"):
                    found[kind].append(measure(browser, Path(cache)))
        browser.close()
    if args.json:
        print(json.dumps({"load_average": load, "cores": os.cpu_count(), "seconds": found}))
        return
    print(f"{os.cpu_count()} cores, load average {load:.2f}; seconds, median and all")
    for kind, runs in found.items():
        for name in ("page", "translation"):
            values = [run[name] for run in runs]
            listed = ", ".join(f"{value:.2f}" for value in values)
            print(f"{kind} cache, {name:<12}{statistics.median(values):>6.2f}   ({listed})")


if __name__ == "__main__":
    main()
