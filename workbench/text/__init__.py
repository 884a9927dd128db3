"""Text on its way into and out of the network: corpora, sentences, tokens."""

from workbench.errors import WorkbenchError


class TokenizerError(WorkbenchError):
    """A tokenizer cannot be trained, loaded or given these ids."""
