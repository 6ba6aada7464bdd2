"""The benchmark that guards every change: ``python -m benchmarks ci``; docs/benchmarks.md says how to read it.

`studies`, `anytime` and `bookkeeping` measure, each case in numbers of which a smaller one is better; `judging` says
which of them may rise, and how far; `run` compares with the committed ``baseline.json``. Counts and losses at fixed
seeds are judged, which do not depend on the machine. Seconds are shown, never judged: machines are noisy.
"""
