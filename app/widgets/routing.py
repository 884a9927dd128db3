"""What the Experts page draws: routes that were traced here, or tables that were made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from workbench.routing.trace import Routes
from workbench.routing.usage import Usage, expert_usage
from workbench.tasks import parse_task
from workbench.wording import counted


@dataclass(frozen=True)
class Routing:
    """Routes and the usage that they make, or a usage without routes.

    key: of what it is computed from, for caches. name: of the network. of: what a line of provenance says it shows.
    routes: None of a usage alone. specialization: the table that came with such a usage, None where none did.
    """

    key: str
    name: str
    of: str
    usage: Usage
    routes: Routes | None = None
    specialization: pd.DataFrame | None = None

    def only(self, tasks: Sequence[str]) -> Routing:
        """Of some of the tasks. The table that came with a usage is of all, and left out."""
        routes = self.routes and self.routes.only([parse_task(task) for task in tasks])
        usage = self.usage.only(tasks)
        key = repr((self.key, tuple(tasks)))
        of = f"{self.of}; {counted(len(tasks), 'task')} of these"
        return replace(self, key=key, of=of, usage=usage, routes=routes, specialization=None)


def routing_of(routes: Routes, key: str, name: str, of: str) -> Routing:
    """Of routes, which are counted."""
    return Routing(key, name, of, expert_usage(routes), routes)
