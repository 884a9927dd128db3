"""Text that a person typed, or took from a file."""

from __future__ import annotations

import warnings
from typing import Any

import streamlit as st

from workbench.errors import WorkbenchError
from workbench.text.corpus import CorpusWarning, split_lines
from workbench.text.segmentation import split_sentences

# Of the language that comes first; those of others are the first captions of the package.
_EXAMPLE = (
    "A man in a blue shirt is riding a bicycle.\n"
    "Two dogs are running through the snow.\n"
    "A little girl is playing in the water."
)


@st.cache_data(show_spinner=False)
def example(language: str) -> str | None:
    """Three sentences to begin with in the language of a FLORES-200 code, where there are some."""
    if language == "eng_Latn":
        return _EXAMPLE
    from workbench.evaluation.testset import CAPTIONS, read_corpus

    try:
        return "\n".join(read_corpus(CAPTIONS, (language,)).lines[language][:3])
    except WorkbenchError:
        return None


#: Whose text a page works on, by the names that its address has.
WHOSE = {"captions": "Bundled captions", "own": "My own"}


def typed_sentences(written: str) -> tuple[str, ...]:
    """The sentences of a text, blank lines between them.

    Networks trained on single sentences tend to make one of several, and to leave things out.
    """
    lines = (split_sentences(line, lambda _: True) or [""] for line in written.split("\n"))
    return tuple(sentence.strip() for line in lines for sentence in line)


def offer_file(place: Any, key: str, most: int) -> None:
    """A menu that puts a text file into the text box `key`, which takes `most` characters."""
    with place.popover("From a file", icon=":material/upload_file:", key=f"{key} from a file"):
        st.file_uploader(
            "A text file in UTF-8", "txt", key=f"{key} file", on_change=_take, args=(key, most)
        )
        for say, text in st.session_state.get(f"{key} said", ()):
            getattr(st, say)(text)


def _take(key: str, most: int) -> None:
    state = st.session_state
    state[f"{key} said"] = []
    file = state[f"{key} file"]
    if file is None:  # taken away again; the text stays
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", CorpusWarning)
        try:
            text = "\n".join(split_lines(file.getvalue(), file.name))
        except WorkbenchError as error:
            state[f"{key} said"] = [("error", str(error))]
            return
    text = text.replace("\r", "\n")  # as the text box itself does
    if not text.strip():
        state[f"{key} said"] = [("error", f"{file.name} has no text.")]
        return
    if len(text) > most:
        state[f"{key} said"] = [
            (
                "error",
                f"{file.name} has {len(text):,} characters, and there is room for {most:,} here. The command line"
                " takes any length.",
            )
        ]
        return
    state[f"{key} said"] = [("warning", str(warning.message)) for warning in said]
    state[key] = text
