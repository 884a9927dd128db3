"""What a checkpoint is, in the words that the command line and the app share."""

from __future__ import annotations

from workbench.config import ModelConfig, RouterConfig, StackConfig


def stack_in_words(stack: StackConfig) -> str:
    """A stack in words, e.g. `2 layers, 16 experts in layer 1, 2 chosen by target language`.

    Layers are counted from 0. Where layers differ in their experts, each one's number is given.
    """
    depth = f"{stack.depth} layer{'s' if stack.depth > 1 else ''}"
    router = stack.router
    if router is None:
        return f"{depth}, dense"
    counts = _listed(stack.experts_by_layer or (stack.experts,))
    layers = _listed(stack.expert_layers)
    plural = "s" if len(stack.expert_layers) > 1 else ""
    by = _looks_at(router)
    how = f"assigned by hand to each {by}" if router.assignment else f"chosen by {by}"
    return f"{depth}, {counts} experts in layer{plural} {layers}, {router.top_k} {how}"


def routing_in_words(config: ModelConfig) -> str:
    """How a network is routed, e.g. `encoder routed by token, decoder by target language`; or `dense`."""
    ways = {name: _way(stack) for name, stack in config.stacks}
    if len(set(ways.values())) == 1:
        return next(iter(ways.values()))
    return ", ".join(f"{name} {way}" for name, way in ways.items())


def _way(stack: StackConfig) -> str:
    return f"routed by {_looks_at(stack.router)}" if stack.router else "dense"


def _looks_at(router: RouterConfig) -> str:
    """What a router looks at: token, sentence, source language, target language or pair of languages."""
    if router.task_key == "pair":
        return "pair of languages"
    return f"{router.task_key} language" if router.task_key else router.granularity


def _listed(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last
