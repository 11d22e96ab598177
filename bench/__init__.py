"""bench: the DVC pipeline around swq, from a package or folder to a table of recovered accuracy.

Layers, imports only downwards:

    __main__ (command line) -> stages/ -> tables, plots, statistics -> records -> config
"""
