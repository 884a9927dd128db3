"""Routing: which experts a model's own decisions went to."""
