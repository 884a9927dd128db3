"""Decoding: sentences in, translations out, through a bounded number of compiled programs."""
