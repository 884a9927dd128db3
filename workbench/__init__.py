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
    from workbench.evaluation.sentences import differing_sentences
    from workbench.evaluation.speed import Speeds, benchmark
    from workbench.evaluation.testset import TestSet, load_testset
    from workbench.figures.coactivation import coactivation_map
    from workbench.figures.differences import difference_chart
    from workbench.figures.expert_overview import expert_overview
    from workbench.figures.flow import flow_chart
    from workbench.figures.heat_map import expert_heat_map
    from workbench.figures.kept_experts import kept_experts_map
    from workbench.figures.sentence_map import sentence_map
    from workbench.figures.sizes import component_bars
    from workbench.figures.specialization import specialization_chart
    from workbench.figures.standard import sentence_points, standard_figures
    from workbench.figures.task_similarity import task_similarity_map
    from workbench.figures.throughput import throughput_chart
    from workbench.figures.token_strip import token_strip
    from workbench.figures.trade_off import quality_against_latency
    from workbench.routing.affinity import coactivation, favourite_tokens
    from workbench.routing.files import read_routes, read_usage, write_routes
    from workbench.routing.flow import layer_flow
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
    "differing_sentences": "workbench.evaluation.sentences",
    "Speeds": "workbench.evaluation.speed",
    "benchmark": "workbench.evaluation.speed",
    "TestSet": "workbench.evaluation.testset",
    "load_testset": "workbench.evaluation.testset",
    "coactivation_map": "workbench.figures.coactivation",
    "difference_chart": "workbench.figures.differences",
    "expert_overview": "workbench.figures.expert_overview",
    "flow_chart": "workbench.figures.flow",
    "expert_heat_map": "workbench.figures.heat_map",
    "kept_experts_map": "workbench.figures.kept_experts",
    "sentence_map": "workbench.figures.sentence_map",
    "component_bars": "workbench.figures.sizes",
    "specialization_chart": "workbench.figures.specialization",
    "sentence_points": "workbench.figures.standard",
    "standard_figures": "workbench.figures.standard",
    "task_similarity_map": "workbench.figures.task_similarity",
    "throughput_chart": "workbench.figures.throughput",
    "token_strip": "workbench.figures.token_strip",
    "quality_against_latency": "workbench.figures.trade_off",
    "coactivation": "workbench.routing.affinity",
    "favourite_tokens": "workbench.routing.affinity",
    "read_routes": "workbench.routing.files",
    "read_usage": "workbench.routing.files",
    "write_routes": "workbench.routing.files",
    "layer_flow": "workbench.routing.flow",
    "gather_statistics": "workbench.routing.gathering",
    "WhatIf": "workbench.routing.interventions",
    "intervene": "workbench.routing.interventions",
    "similarity": "workbench.routing.similarity",
    "specialization": "workbench.routing.specialization",
    "Statistics": "workbench.routing.statistics",
    "Routes": "workbench.routing.trace",
    "trace_routes": "workbench.routing.trace",
    "Usage": "workbench.routing.usage",
    "expert_usage": "workbench.routing.usage",
    "extract": "workbench.subnetworks.extract",
    "merge": "workbench.subnetworks.merge",
    "Proof": "workbench.subnetworks.proof",
    "prove": "workbench.subnetworks.proof",
    "prune": "workbench.subnetworks.prune",
    "Report": "workbench.subnetworks.report",
    "report": "workbench.subnetworks.report",
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
    "coactivation",
    "coactivation_map",
    "compare",
    "component_bars",
    "difference_chart",
    "differing_sentences",
    "evaluate",
    "expert_heat_map",
    "expert_overview",
    "expert_usage",
    "extract",
    "favourite_tokens",
    "flow_chart",
    "gather_statistics",
    "intervene",
    "kept_experts_map",
    "layer_flow",
    "load",
    "load_testset",
    "merge",
    "parse_task",
    "prove",
    "prune",
    "quality_against_latency",
    "read_routes",
    "read_usage",
    "report",
    "sentence_map",
    "sentence_points",
    "similarity",
    "specialization",
    "specialization_chart",
    "standard_figures",
    "task_similarity_map",
    "throughput_chart",
    "token_strip",
    "trace_routes",
    "write_routes",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
