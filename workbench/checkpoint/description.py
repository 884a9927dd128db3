"""What a checkpoint is, in the words that the command line and the app share."""

from __future__ import annotations

from workbench.config import StackConfig


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
    if router.task_key == "pair":
        by = "pair of languages"
    elif router.task_key:
        by = f"{router.task_key} language"
    else:
        by = router.granularity
    how = f"assigned by hand to each {by}" if router.assignment else f"chosen by {by}"
    return f"{depth}, {counts} experts in layer{plural} {layers}, {router.top_k} {how}"


def _listed(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last
