"""The backends that come with `t9k.em`; found through entry points, one module a place."""
