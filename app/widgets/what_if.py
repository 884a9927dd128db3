"""What if: other routing of a checkpoint, chosen by a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from workbench.config import ModelConfig
from workbench.languages import find_language
from workbench.tasks import parse_task

if TYPE_CHECKING:
    from workbench.decoding.translator import Translator
    from workbench.routing.interventions import WhatIf

OFF, ONLY = "Switch off", "Leave only"
AS_IT_IS = "its own task"


@dataclass(frozen=True)
class Change:
    """What to change: experts of one layer, and of stacks routed by task the key that they read."""

    layer: tuple[str, int]
    only: bool
    experts: tuple[int, ...]
    route_as: tuple[tuple[str, str], ...]

    @property
    def is_none(self) -> bool:
        """Whether all stays as it is."""
        return not self.experts and not self.route_as

    def of(self, model: Translator) -> WhatIf:
        """The changed translator. Raises WorkbenchError."""
        from workbench.routing.interventions import intervene

        experts: Any = {self.layer: self.experts} if self.experts else None
        route_as: Any = dict(self.route_as)
        return (
            intervene(model, only=experts, route_as=route_as)
            if self.only
            else intervene(model, off=experts, route_as=route_as)
        )


def choose_change(
    configs: dict[str, ModelConfig], disabled: bool = False
) -> tuple[str, Change] | None:
    """The checkpoint and the change, once the button is pressed. disabled: whether it cannot be."""
    with st.expander(
        "What if: switch experts off, or borrow another task's", icon=":material/science:"
    ):
        columns = st.columns([3, 3, 3, 5], vertical_alignment="bottom")
        name = columns[0].selectbox("Checkpoint", list(configs), key="what-if model")
        config = configs[name]
        layers = [
            (stack, layer)
            for stack, shape in config.stacks
            if shape.router and not shape.router.assignment
            for layer in shape.expert_layers
        ]
        layer, only = ("decoder", 0), False
        experts: tuple[int, ...] = ()
        if layers:
            layer = columns[1].selectbox(
                "Experts of",
                layers,
                index=len(layers) - 1,
                format_func=lambda pair: f"{pair[0].capitalize()} layer {pair[1]}",
                key=f"what-if layer {name}",
            )
            only = (
                columns[2].segmented_control(
                    "Do", [OFF, ONLY], default=OFF, required=True, key="what-if mode"
                )
                == ONLY
            )
            total = getattr(config, layer[0]).experts_in(layer[1])
            experts = tuple(
                columns[3].multiselect(
                    "Experts", range(total), key=f"what-if experts {name} {layer}"
                )
            )
        route_as = []
        by_task = [
            (s, shape.router) for s, shape in config.stacks if shape.router and shape.router.keys
        ]
        for place, (stack, router) in zip(st.columns(2), by_task, strict=False):
            key = place.selectbox(
                f"Route the {stack} as",
                [AS_IT_IS, *router.keys],
                format_func=_label,
                key=f"what-if {stack} {name}",
            )
            if key != AS_IT_IS:
                route_as.append((stack, key))
        change = Change(layer, only, experts, tuple(route_as))
        pressed = st.button(
            "Translate again", icon=":material/experiment:", disabled=disabled or change.is_none
        )
    return (name, change) if pressed else None


def _label(key: str) -> str:
    if key == AS_IT_IS:
        return key
    return parse_task(key).label if "-" in key else find_language(key).name
