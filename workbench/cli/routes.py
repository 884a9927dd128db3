"""`workbench routes`: the tidy routing table of a file's translations."""

from __future__ import annotations

import argparse
from pathlib import Path

from workbench.cli.options import (
    add_checkpoint,
    add_direction,
    add_run,
    positive,
    print_json,
    progress,
)

_WRITERS = (".parquet", ".csv", ".jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_checkpoint(parser)
    add_direction(parser)
    parser.add_argument("-i", "--input", required=True, metavar="FILE", help="source sentences")
    parser.add_argument(
        "-r",
        "--reference",
        metavar="FILE",
        help="trace these translations instead of the model's own",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="a " + " or ".join(_WRITERS)
    )
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default 32")
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    """Write the table, and say how many rows it has."""
    import workbench as wb
    from workbench.cli.options import output
    from workbench.text.corpus import read_lines

    kind = Path(options.output).suffix
    if kind not in _WRITERS:
        raise wb.WorkbenchError(
            f"Cannot write {options.output!r}: its name must end in {', '.join(_WRITERS)}."
        )
    sources = read_lines(options.input)
    references = read_lines(options.reference) if options.reference else None
    if references is not None and len(references) != len(sources):
        raise wb.WorkbenchError(
            f"{options.input} has {len(sources)} lines but {options.reference} has {len(references)}."
        )
    model = wb.load(options.checkpoint)
    frame = wb.trace_routes(
        model,
        sources,
        options.source,
        options.target,
        references,
        options.batch_size,
        progress("traced"),
    ).to_frame()
    with output(options.output) as file:
        if kind == ".parquet":
            frame.to_parquet(file, index=False)
        elif kind == ".csv":
            file.write(frame.to_csv(index=False).encode())
        else:
            text = frame.to_json(orient="records", lines=True, force_ascii=False)
            file.write(text.encode())
    facts = {"output": options.output, "rows": len(frame), "sentences": len(sources)}
    if options.json:
        print_json(facts)
    else:
        print(f"{options.output}: {len(frame):,} rows of {len(sources):,} sentences")
