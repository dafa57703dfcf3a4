"""Upload a run while it goes on: what is logged follows to the backend, and nothing of that reaches the training."""
