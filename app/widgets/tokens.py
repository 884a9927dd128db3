"""Tinted tokens: every token of a sentence in the colour, and with the number, of its expert."""

from __future__ import annotations

from html import escape

import pandas as pd

from workbench.config import RouterConfig
from workbench.figures import theme
from workbench.languages import find_language

STYLE = """<style>
.moe-line{line-height:2.35;font-size:1rem;margin:.1rem 0 .3rem}
.moe-token,.moe-plain{display:inline-block;line-height:1.4;padding:.1em .3em;margin-inline-end:.16em;
 border-radius:.3em;white-space:pre}
.moe-token{position:relative;border-bottom:3px solid var(--c);background:color-mix(in srgb,var(--c) 20%,transparent)}
.moe-token sub{font-size:.62em;opacity:.8;margin-inline-start:.18em}
.moe-tip{display:none;position:absolute;left:0;bottom:125%;z-index:9;width:max-content;max-width:17rem;
 white-space:normal;line-height:1.4;font-size:.8rem;padding:.45em .65em;border-radius:.45em;
 background:#1f2430;color:#fff;box-shadow:0 2px 10px #0005}
.moe-token:hover .moe-tip,.moe-token:focus .moe-tip{display:block}
.moe-token:focus-visible{outline:2px solid currentColor;outline-offset:1px}
@media(max-width:40rem){.moe-line{position:relative}.moe-token{position:static}.moe-tip{bottom:auto}}
.moe-plain{background:color-mix(in srgb,currentColor 8%,transparent)}
.moe-key{font-size:.8rem;margin-right:.9em;white-space:nowrap}
.moe-key i{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.35em}
.moe-text{font-size:1.15rem;margin:.1rem 0 .15rem;overflow-wrap:anywhere}
.moe-source{font-size:.86rem;overflow-wrap:anywhere;opacity:.65;margin-top:.55rem}
.moe-note{font-size:.875rem;color:color-mix(in srgb,currentColor 60%,transparent);margin:.2rem 0 1.15rem}
.moe-grid{display:grid;grid-template-columns:repeat(var(--columns),minmax(0,1fr));column-gap:4rem}
.moe-who{display:none;font-weight:600}
@media(max-width:640px){.moe-grid{display:block}.moe-who{display:block}}
.moe-differs{border-inline-start:3px solid currentColor;padding-inline-start:.7rem}
.moe-differs b{color:currentColor}
</style>"""


def tinted(routes: pd.DataFrame, language: str) -> str:
    """HTML of one sentence's tokens in one layer; `routes` are its rows there, as in `Routes.to_frame`.

    language: code of the tokens', whose script says which way they run.

    The network's own first tokens (end of sentence, language) are shown too: they are routed like the others.
    """
    tokens: dict[int, tuple[str, list[tuple[int, int, float]]]] = {}
    columns = (
        routes[column].tolist() for column in ("position", "token", "rank", "expert", "gate")
    )
    for position, token, *choice in zip(*columns, strict=True):
        tokens.setdefault(position, (str(token), []))[1].append(tuple(choice))
    spans = []
    for _, (token, chosen) in sorted(tokens.items()):
        chosen.sort()
        choices = "<br>".join(
            f"{'' if rank == 0 else 'then '}expert {expert}, gate {gate:.3f}"
            for rank, expert, gate in chosen
        )
        first = chosen[0][1]
        spans.append(
            f'<span class="moe-token" tabindex="0" style="--c:{theme.category(first)}">{_shown(token)}<sub>{first}</sub>'
            f'<span class="moe-tip" dir="ltr"><b>{escape(token)}</b><br>{choices}</span></span>'
        )
    return _line(spans, language)


def plain(tokens: tuple[str, ...], language: str) -> str:
    """HTML of tokens that no expert has seen."""
    return _line([f'<span class="moe-plain">{_shown(token)}</span>' for token in tokens], language)


def _shown(token: str) -> str:
    """A token in whichever direction its own letters run: marks such as `</s>` are Latin everywhere."""
    return f"<bdi>{escape(token.replace('▁', ' ').strip() or '␣')}</bdi>"


def _line(spans: list[str], language: str) -> str:
    direction = "rtl" if find_language(language, among=(language,)).right_to_left else "ltr"
    return f'<div class="moe-line" dir="{direction}">{" ".join(spans)}</div>'


def key(experts: int) -> str:
    """HTML that says which colour is which expert."""
    items = (
        f'<span class="moe-key"><i style="background:{theme.category(e)}"></i>expert {e}</span>'
        for e in range(experts)
    )
    return f"<div>{''.join(items)}</div>"


def text(source: str, translation: str) -> str:
    """HTML of a source line and its translation, in whichever direction their scripts run."""
    return (
        f'<div class="moe-source" dir="auto">{escape(source)}</div>'
        f'<div class="moe-text" dir="auto" data-testid="translation">{escape(translation) or "&nbsp;"}</div>'
    )


def sentence(source: str, translation: str, strip: str, note: str, differs: bool = False) -> str:
    """HTML of a sentence: its source, its translation, their tokens and a note on them.

    strip: from `tinted` or `plain`. differs: whether the translation is marked as another one than the original's.
    """
    if differs:
        note = (
            f"<b>differs from the original</b> · {note}"
            if note
            else "<b>differs from the original</b>"
        )
    mark = ' class="moe-differs"' if differs else ""
    return f'<div{mark}>{text(source, translation)}{strip}<div class="moe-note">{note}</div></div>'


def side_by_side(columns: dict[str, list[str]]) -> str:
    """HTML of several checkpoints' sentences by their names: each line's beside one another, in a narrow window below.

    A sentence is from `sentence`, or empty where there is none.
    """
    if len(columns) == 1:
        return "".join(*columns.values())
    cells = "".join(
        f'<div><div class="moe-who">{escape(name) if cell else ""}</div>{cell}</div>'
        for row in zip(*columns.values(), strict=True)
        for name, cell in zip(columns, row, strict=True)
    )
    return f'<div class="moe-grid" style="--columns:{len(columns)}">{cells}</div>'


def why_alike(router: RouterConfig | None) -> str | None:
    """Why many tokens have the same experts, where the router does not look at each: what follows the stack's name."""
    if router is None or router.granularity == "token":
        return None
    if router.granularity == "sentence":
        return "routed by sentence: every token of a sentence uses the same experts."
    key = "pair of languages" if router.task_key == "pair" else f"{router.task_key} language"
    return f"routed by {key}: every token uses the same experts, so all have one colour."
