"""Client programs: one a library, used as its users do. Each runs in an environment of its own, not in the tests'."""
