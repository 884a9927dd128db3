"""Training: a recipe and parallel text in, a checkpoint and its metrics out."""
