"""What runs and artifacts have in common: local directories, histories and lineage."""
