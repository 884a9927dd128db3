"""Widgets: the parts that pages share."""
