"""Other engines: dense networks handed to CTranslate2 and transformers, where these are installed.

This room alone imports them, and only when they are asked for.
"""
