"""Make one folder, node or store like another: plan, copy what differs, compare.

`planning` lists both sides, `nodes` brings one node up to date, `shards` does that for some of them wherever an executor
runs it, `state` remembers what was found equal, `report` says what was done, and `running` puts these together.
"""
