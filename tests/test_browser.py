"""The browser fixtures themselves, on a small Streamlit page."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests import browser as fixtures

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGE = """
import streamlit as st

st.title("A small page")
name = st.text_input("Name")
if st.button("Greet"):
    st.write(f"Hello, {name}!")
"""


def streamlit(script: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]


@pytest.mark.browser
def test_a_streamlit_page_is_typed_into_and_clicked(page: Page, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text(PAGE, encoding="utf-8")
    with fixtures.served(lambda port: streamlit(script, port), tmp_path / "log") as address:
        page.goto(address)
        page.get_by_label("Name").fill("Ada")
        page.get_by_label("Name").press("Enter")
        page.get_by_role("button", name="Greet").click()
        page.get_by_text("Hello, Ada!").wait_for()
        assert page.get_by_role("heading", name="A small page").is_visible()


def test_a_server_that_dies_is_reported_with_its_output(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such checkpoint')"]
    with (
        pytest.raises(pytest.fail.Exception, match="ended with 1:\nno such checkpoint"),
        fixtures.served(lambda port: command, tmp_path / "log"),
    ):
        pass


def test_a_server_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixtures, "_healthy", lambda address: (tmp_path / "child").exists())
    code = (
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path(sys.argv[1] + '.new').write_text(str(child.pid))\n"
        "pathlib.Path(sys.argv[1] + '.new').rename(sys.argv[1])\n"
        "child.wait()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "child")]
    with fixtures.served(lambda port: command, tmp_path / "log"):
        child = psutil.Process(int((tmp_path / "child").read_text()))
        assert child.is_running()
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child of the server still runs"
        time.sleep(0.05)


@pytest.mark.parametrize("ci", [True, False])
def test_without_chromium_a_test_skips_but_fails_in_ci(
    ci: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", str(ci).lower())
    expected = pytest.fail.Exception if ci else pytest.skip.Exception
    with pytest.raises(expected, match="apt-get install chromium"):
        fixtures.require_chromium()
