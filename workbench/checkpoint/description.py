"""What a checkpoint is, in the words that the command line and the app share."""

from __future__ import annotations

import re

from workbench.config import ModelConfig, RouterConfig, StackConfig


def stack_in_words(stack: StackConfig) -> str:
    """A stack in words, e.g. `2 layers, 16 experts in layer 1, 2 chosen by target language`.

    Layers are counted from 0. Where layers differ in their experts, each one's number is given.
    """
    depth = f"{stack.depth} layer{'s' if stack.depth > 1 else ''}"
    router = stack.router
    if router is None:
        return f"{depth}, dense"
    counts = stack.experts_by_layer or (stack.experts,)
    experts = f"{_listed(counts)} expert{'' if counts == (1,) else 's'}"
    layers = _listed(stack.expert_layers)
    plural = "s" if len(stack.expert_layers) > 1 else ""
    by = _looks_at(router)
    how = f"assigned by hand to each {by}" if router.assignment else f"chosen by {by}"
    return f"{depth}, {experts} in layer{plural} {layers}, {router.top_k} {how}"


def routing_in_words(config: ModelConfig) -> str:
    """How a network is routed, e.g. `encoder routed by token, decoder by target language`; or `dense`."""
    ways = {name: _way(stack) for name, stack in config.stacks}
    if len(set(ways.values())) == 1:
        return next(iter(ways.values()))
    return ", ".join(f"{name} {way}" for name, way in ways.items())


def with_lower_headings(markdown: str, levels: int) -> str:
    """A model card's text with every heading so many levels lower, the sixth at most, to stand in a page of its own.

    What is in code blocks stays as it is; a heading that is underlined gets its number signs.
    """
    lines: list[str] = []
    fence = ""
    for line in markdown.splitlines():
        found = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if found and (not fence or found[1].startswith(fence)):
            fence = "" if fence else found[1]
        elif not fence:
            if (heading := re.match(r" {0,3}(#{1,6})(?=\s|$)", line)) is not None:
                line = "#" * min(6, len(heading[1]) + levels) + line[heading.end() :]
            elif re.fullmatch(r" {0,3}(=+|-+)\s*", line) and (words := _paragraph(lines)):
                del lines[-len(words) :]
                line = "#" * min(6, (1 if "=" in line else 2) + levels) + " " + " ".join(words)
        lines.append(line)
    return "\n".join(lines)


def _paragraph(lines: list[str]) -> list[str]:
    """The last lines if they are a paragraph of plain text, which can be an underlined heading."""
    found: list[str] = []
    for line in reversed(lines):
        if not line.strip():
            break
        if re.match(r"\s{4}|\s*([#>|*+-]|\d+\.|`{3}|~{3})", line):
            return []
        found.insert(0, line.strip())
    return found


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
