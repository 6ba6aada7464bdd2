"""Floor 2: trackers, which project a study onto MLflow."""
