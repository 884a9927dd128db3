"""Data that ships with the package: the captions evaluation set."""
