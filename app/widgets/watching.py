"""Watching a job: its progress and a button that cancels it."""

from __future__ import annotations

import streamlit as st

from app import jobs
from workbench.wording import duration


@st.fragment(run_every=0.5)
def watch(job: jobs.Job) -> None:
    """Progress while the job runs; the whole page again when it has ended."""
    if job.finished:
        st.rerun()
    left, right = st.columns([6, 1], vertical_alignment="center")
    remaining = job.seconds_left
    text = job.text if remaining is None else f"{job.text} · {duration(remaining)} left"
    left.progress(job.fraction, text=text)
    if right.button("Cancel", icon=":material/stop:", width="stretch"):
        job.cancel()
