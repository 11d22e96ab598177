"""bench: the DVC pipeline around swq, from a package or folder to a table of recovered accuracy.

Layers, imports only downwards:

    __main__ (command line), compose
    stages/   one function per stage of dvc.yaml
    tables, plots   what people read
    results   a suite's scores brought together; statistics
    harness (lm-eval), corpus, models, packages, training   what is scored, and where it comes from
    records, runtime, paths
    config, cell, strict, tasks   what a user may write
"""
