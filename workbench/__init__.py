"""The Task-MoE workbench: see, cut, prove, measure and ship the part of a model that a task needs.

    import workbench as wb

    model = wb.load("checkpoints/captions-task-moe")
    model.translate(["A man rides a horse."], source="en", target="de")

Names are imported when first used, so that `import workbench` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.decoding.system import Translation
    from workbench.decoding.translator import Translator
    from workbench.engines.loading import load
    from workbench.errors import WorkbenchError
    from workbench.evaluation.comparison import Comparison, compare
    from workbench.evaluation.quality import Scores, evaluate
    from workbench.evaluation.speed import Speeds, benchmark
    from workbench.evaluation.testset import TestSet, load_testset
    from workbench.routing.gathering import gather_statistics
    from workbench.routing.interventions import WhatIf, intervene
    from workbench.routing.similarity import similarity
    from workbench.routing.specialization import specialization
    from workbench.routing.statistics import Statistics
    from workbench.routing.trace import Routes, trace_routes
    from workbench.routing.usage import Usage, expert_usage
    from workbench.subnetworks.extract import extract
    from workbench.subnetworks.merge import merge
    from workbench.subnetworks.proof import Proof, prove
    from workbench.subnetworks.prune import prune
    from workbench.subnetworks.report import Report, report
    from workbench.tasks import Task, parse_task


_HOMES = {
    "Translation": "workbench.decoding.system",
    "Translator": "workbench.decoding.translator",
    "load": "workbench.engines.loading",
    "WorkbenchError": "workbench.errors",
    "Comparison": "workbench.evaluation.comparison",
    "compare": "workbench.evaluation.comparison",
    "Scores": "workbench.evaluation.quality",
    "evaluate": "workbench.evaluation.quality",
    "Speeds": "workbench.evaluation.speed",
    "benchmark": "workbench.evaluation.speed",
    "TestSet": "workbench.evaluation.testset",
    "load_testset": "workbench.evaluation.testset",
    "Routes": "workbench.routing.trace",
    "trace_routes": "workbench.routing.trace",
    "Usage": "workbench.routing.usage",
    "expert_usage": "workbench.routing.usage",
    "WhatIf": "workbench.routing.interventions",
    "intervene": "workbench.routing.interventions",
    "similarity": "workbench.routing.similarity",
    "specialization": "workbench.routing.specialization",
    "Statistics": "workbench.routing.statistics",
    "gather_statistics": "workbench.routing.gathering",
    "extract": "workbench.subnetworks.extract",
    "merge": "workbench.subnetworks.merge",
    "prune": "workbench.subnetworks.prune",
    "Report": "workbench.subnetworks.report",
    "report": "workbench.subnetworks.report",
    "Proof": "workbench.subnetworks.proof",
    "prove": "workbench.subnetworks.proof",
    "Task": "workbench.tasks",
    "parse_task": "workbench.tasks",
}

__all__ = [
    "Comparison",
    "Proof",
    "Report",
    "Routes",
    "Scores",
    "Speeds",
    "Statistics",
    "Task",
    "TestSet",
    "Translation",
    "Translator",
    "Usage",
    "WhatIf",
    "WorkbenchError",
    "benchmark",
    "compare",
    "evaluate",
    "expert_usage",
    "extract",
    "gather_statistics",
    "intervene",
    "load",
    "load_testset",
    "merge",
    "parse_task",
    "prove",
    "prune",
    "report",
    "similarity",
    "specialization",
    "trace_routes",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
