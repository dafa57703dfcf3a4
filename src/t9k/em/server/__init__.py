"""The AIStore server: any backend over HTTP, with accounts, API keys, groups and shares."""
