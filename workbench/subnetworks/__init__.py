"""Sub-networks: the part of a network that a task needs, and the proof that it does the same."""
