"""Keep machine-learning experiments: runs, artifacts, and the place they are uploaded to."""
