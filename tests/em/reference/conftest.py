"""The API reference is data for `test_api.py`: its blocks are signatures, not examples to run."""

collect_ignore_glob = ["*.md"]
