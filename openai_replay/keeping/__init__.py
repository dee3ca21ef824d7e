"""Cassettes kept in order: the modules behind `lint`, `redact`, `prune` and `refresh`."""
