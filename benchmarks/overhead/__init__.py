"""What a study costs besides growing trees: share of the time, exact counts, milliseconds per trial, memory, imports.

``python -m benchmarks overhead`` runs all parts but the slow one, ``tracking``; `command.py` says how.
"""
