"""Text on its way into and out of the network: corpora, sentences, tokens."""
