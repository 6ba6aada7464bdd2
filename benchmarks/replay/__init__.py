"""Samplers, pruners and portfolios compared by exact replay of recorded learning curves.

`record` trains a lattice of configurations once per data set and family, and keeps the validation loss of every fold
after every round. The replay then runs the real `gbtune.Objective` on a family that answers from these curves.
"""
