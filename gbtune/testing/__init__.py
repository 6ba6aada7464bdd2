"""The test kit: contract tests that families and trackers must pass."""
