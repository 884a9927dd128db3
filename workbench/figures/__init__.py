"""Figures: charts of tidy tables, as Altair charts."""
