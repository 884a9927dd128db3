"""`workbench figures`: the standard set of figures of how a corpus is routed."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.checkpoint import CONFIG, INDEX, WEIGHTS
from workbench.cli.options import new_command
from workbench.cli.output import check_directory, note, whole_file
from workbench.cli.tracing import add_corpus, trace_corpus
from workbench.errors import WorkbenchError
from workbench.wording import counted

if TYPE_CHECKING:
    from workbench.routing.trace import Routes

_FORMATS = ("svg", "pdf", "png", "csv", "json")


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "figures",
        run,
        "Draw how a parallel corpus is routed: usage, similarity of tasks, specialisation against chance, experts chosen"
        " together, a sentence token by token, a map of sentences.",
    )
    add_corpus(parser)
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="where the files go; those of the same names are replaced",
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=_FORMATS,
        default=list(_FORMATS),
        metavar="FORMAT",
        help=f"of {', '.join(_FORMATS)} (default: all); csv has the numbers, json the Vega-Lite chart",
    )


def run(args: argparse.Namespace) -> None:
    """Trace, draw and write."""
    for package in ("altair", "vl_convert", "umap"):  # before the work and not after it
        if importlib.util.find_spec(package) is None:
            raise WorkbenchError("Figures need Altair: pip install 'task-moe-workbench[app]'.")
    place = Path(args.output)
    if place.exists() and not place.is_dir():
        raise WorkbenchError(f"{place} is a file: name a directory.")
    if any((place / name).exists() for name in (CONFIG, WEIGHTS, INDEX)):
        raise WorkbenchError(
            f"{place} exists and holds a checkpoint: choose another place with -o."
        )
    check_directory(place, place)
    before = (
        {path.name for path in place.iterdir() if path.suffix[1:] in _FORMATS}
        if place.exists()
        else set()
    )
    name, routes = trace_corpus(args)
    place.mkdir(parents=True, exist_ok=True)
    from workbench.figures.export import export, provenance_line
    from workbench.figures.standard import standard_figures

    text = f"{args.corpus or Path(args.checkpoint).name}: {_text(routes, args.corpus)}"
    # A table that does not say whose it is goes by its path, which has no place in a figure.
    of = (text,) if name == args.checkpoint and args.corpus is None else (name, text)
    line = provenance_line(*of)
    written: list[str] = []
    if len(routes.tasks) == 1:
        note("of one task there is no similarity and no specialisation: these need two.")
    note("drawing; a map of sentences takes a while at first, since UMAP compiles itself.")
    for figure in standard_figures(routes):
        for form in args.formats if figure.chart is not None else ["csv"]:
            path = place / f"{figure.name}.{form}"
            with whole_file(path) as staging:
                staging.write_bytes(export(figure.chart, figure.data, line, form))
            written.append(str(path))
    names = {Path(path).name for path in written}
    if older := sorted(before - names):
        more = ", …" if len(older) > 3 else ""
        note(
            f"warning: {place} has {counted(len(older), 'file')} from before: {', '.join(older[:3])}{more}"
        )
    if args.json:
        print(json.dumps({"output": args.output, "files": written}, ensure_ascii=False))
    else:
        print("\n".join(written))


def _text(routes: Routes, corpus: str | None) -> str:
    """`references of 60 sentences in each of 6 tasks`; of a table `routes of ...`."""
    each = routes.frame.groupby("task", observed=True)["sentence"].nunique()
    alike = len(each) > 1 and each.nunique() == 1
    number = (
        len(routes.sources) // len(each) if corpus else int(each.iloc[0] if alike else each.sum())
    )
    what = "references" if corpus else "routes"
    return f"{what} of {counted(number, 'sentence')} in {'each of ' if alike else ''}{counted(len(each), 'task')}"
