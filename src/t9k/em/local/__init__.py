"""Files of runs and artifacts on this machine."""
