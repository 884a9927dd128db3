"""The network: pure array code that knows neither files nor text.

Axis letters, here and everywhere: B sentences, S source tokens, T target tokens, D model width,
F expert width, H heads, E experts, K chosen experts, N tokens flattened, V vocabulary, L layers.
"""
