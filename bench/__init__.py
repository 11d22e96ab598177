"""bench: the DVC pipeline around swq, from a package or folder to a table of recovered accuracy.

Layers, imports only downwards:

    __main__                     the command line
    stages, runs                 one function per stage of dvc.yaml; running a suite under DVC
    scoring, preflight, report   log-likelihoods and losses; checks and costs; tables, plots and pages of results
    inputs, published            models and texts as stages read them; published figures and claims
    runtime, prepare, analysis   device and threads; where models and texts come from; statistics of scores
    config, store, render        what a user may write; files on disk; tables and pages as such
    imports                      importing large libraries faster
"""
