"""Evaluation: how well, and how fast, systems translate a test set."""
