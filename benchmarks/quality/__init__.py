"""How good a model is after so many seconds: gbtune beside what people use now.

Data sets x peers x families x budgets x seeds. README.md says how to run and read it, and why these sets and peers.
"""
