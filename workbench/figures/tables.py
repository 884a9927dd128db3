"""Tables that charts are drawn of: what a person gives, checked before it is drawn."""

from __future__ import annotations

import pandas as pd

from workbench.arguments import as_one
from workbench.errors import WorkbenchError


def as_table(given: object, name: str, source: str, *columns: str) -> pd.DataFrame:
    """`given` as a table, which has these columns; Routes, Usage, Speeds and others become the table that they are.

    name: of the argument. source: what gives such a table, as messages put it.

    Raises:
        WorkbenchError: it is no table, or lacks one of the columns.
    """
    table = given
    if not isinstance(given, pd.DataFrame | pd.Series) and hasattr(given, "to_frame"):
        table = given.to_frame()
    table = as_one(table, pd.DataFrame, name, f"the table that {source} gives")
    for column in columns:
        if column not in table.columns:
            has = ", ".join(map(str, table.columns[:12])) or "none"
            raise WorkbenchError(
                f"{name} has no column {column!r}: give the table that {source} gives. Its columns: {has}."
            )
    return table  # type: ignore[no-any-return]
