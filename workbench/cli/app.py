"""`workbench app`: serve the app in the browser."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import os
import socket
import sys
from pathlib import Path
from typing import Any

from workbench.cli.options import new_command, positive
from workbench.errors import WorkbenchError

#: Where the app looks for checkpoints, for `app/main.py`.
CHECKPOINTS = "WORKBENCH_CHECKPOINTS"
_LAST_PORT = 65535
#: Where a name has an IPv6 address too, but this machine does not.
_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands, "app", run, "Serve the app; open the address that it prints in a browser."
    )
    parser.add_argument("--port", type=positive, default=8501, metavar="N", help="default: 8501")
    parser.add_argument(
        "--address",
        default="localhost",
        metavar="HOST",
        help="of this machine, to listen on; 0.0.0.0: all, so that others reach the app (default: localhost)",
    )
    parser.add_argument(
        "--checkpoints",
        metavar="DIR",
        help="directory of checkpoints (default: those of the project)",
    )


def run(args: argparse.Namespace) -> None:
    """Become the Streamlit server."""
    if importlib.util.find_spec("streamlit") is None:
        raise WorkbenchError("The app needs Streamlit: pip install 'task-moe-workbench[app]'.")
    script = find_app()
    if args.checkpoints is not None:
        if not Path(args.checkpoints).is_dir():
            raise WorkbenchError(f"There is no directory {args.checkpoints} with checkpoints.")
        os.environ[CHECKPOINTS] = str(Path(args.checkpoints).resolve())
    check_listen(args.address, args.port)
    if args.device:
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda,cpu", "tpu": "tpu,cpu"}.get(
            args.device, args.device
        )
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    command += ["--server.address", args.address]
    command += ["--server.port", str(args.port), "--server.headless", "true"]
    command += ["--browser.gatherUsageStats", "false"]
    sys.stdout.flush()
    # Taking its place, so that Ctrl-C and signals reach the server itself.
    os.execv(sys.executable, command)


def check_listen(address: str, port: int) -> None:
    """Raise WorkbenchError unless a server can listen on `port` of `address`."""
    if port > _LAST_PORT:
        raise WorkbenchError(f"There is no port {port}: give --port one from 1 to {_LAST_PORT}.")
    try:
        places = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WorkbenchError(
            f"There is no address {address!r}: give --address localhost, or 0.0.0.0 for others to reach the app."
        ) from error
    for family, kind, protocol, _, place in places:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As servers do: connections of one that ended are no hindrance.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in _NO_IPV6 and len(places) > 1:
                continue
            if error.errno == errno.EADDRINUSE:
                raise WorkbenchError(
                    f"Port {port} of {address} is taken, perhaps by another workbench: give another with --port."
                ) from error
            raise WorkbenchError(
                f"Cannot listen on port {port} of {address} ({error.strerror}): give others with --port or"
                " --address."
            ) from error


def find_app() -> Path:
    """The app's main script, next to the package or installed with it.

    Raises:
        WorkbenchError: it is in neither place.
    """
    beside = Path(__file__).resolve().parents[2] / "app" / "main.py"
    if beside.is_file():
        return beside
    spec = importlib.util.find_spec("app")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "main.py").is_file():
            return Path(place) / "main.py"
    raise WorkbenchError(
        "The app's main.py is not next to the workbench package: install the project again."
    )
