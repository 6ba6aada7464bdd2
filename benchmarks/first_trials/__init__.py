"""What the first trials of a study should be: published configurations and variants of them, on public data sets."""
