"""Trials in processes of their own: a crash in native code costs one trial, not the study.

A worker is a new interpreter, never a fork (OpenMP does not survive one) and never one that imports the caller's
``__main__``: scripts without a main guard and notebooks work. It runs an ordinary `Evaluator`; what it reports is
answered in the calling process, where the study and its pruner are.

The encoded data are written once to a file that all workers map, so that they share one copy of them. The binned
matrices are each worker's own.
"""

from gbtune.isolation.evaluator import ProcessEvaluator

__all__ = ["ProcessEvaluator"]
