"""Which final model a study should end with: the best configuration fitted again, or a mean of several models.

`record` runs real studies on three quarters of the rows of public data sets, fits the best configurations again, and
keeps what each model predicts for the held-out quarter. `report` compares rules on the recordings: what a rule takes
into the mean depends on recorded fold scores alone, so a new rule needs no new training.
"""
