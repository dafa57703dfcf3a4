"""Move nodes between local directories and backends: what to send, in parallel, resumable, verified."""
