"""`workbench app`: serve the Streamlit app."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--port", type=int, default=8501, help="default 8501")
    parser.add_argument("--address", default="localhost", help="to listen on; default localhost")
    parser.add_argument(
        "--checkpoints", metavar="DIR", help="where checkpoints lie; default checkpoints/"
    )


def run(options: argparse.Namespace) -> int:
    """Replace this process by Streamlit's server."""
    from workbench.errors import WorkbenchError

    if importlib.util.find_spec("streamlit") is None:
        raise WorkbenchError("The app needs Streamlit: pip install 'task-moe-workbench[app]'.")
    spec = importlib.util.find_spec("app")
    places = list(spec.submodule_search_locations or []) if spec else []
    places.append(str(Path(__file__).resolve().parents[2] / "app"))
    script = next((Path(p) / "main.py" for p in places if (Path(p) / "pages").is_dir()), None)
    if script is None or not script.exists():
        raise WorkbenchError("The app's pages are not installed beside the workbench.")
    if options.checkpoints:
        if not Path(options.checkpoints).is_dir():
            raise WorkbenchError(f"There is no directory {options.checkpoints} with checkpoints.")
        os.environ["WORKBENCH_CHECKPOINTS"] = str(Path(options.checkpoints).resolve())
    arguments = [
        *("--server.port", str(options.port)),
        *("--server.address", options.address),
        *("--server.headless", "true"),
        *("--browser.gatherUsageStats", "false"),
        *("--client.toolbarMode", "minimal"),
        *("--server.fileWatcherType", "none"),
        *("--theme.light.primaryColor", "#0072B2"),
        *("--theme.dark.primaryColor", "#56B4E9"),
    ]
    command = [sys.executable, "-m", "streamlit", "run", str(script), *arguments]
    sys.stdout.flush()
    os.execv(sys.executable, command)
