"""Benchmarks of gbtune: ``python -m benchmarks ci``."""
