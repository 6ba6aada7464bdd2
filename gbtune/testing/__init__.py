"""The test kit: contract tests that families and trackers must pass, and a fake beside each real thing.

`gbtune.testing.families`: `FamilyContract`, `StubFamily`. `gbtune.testing.trackers`: `TrackerContract`,
`check_tracker`, `RecordingTracker`. Nothing in gbtune imports this package.
"""
