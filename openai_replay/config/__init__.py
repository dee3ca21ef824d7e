"""Settings from flags, variables, files and the control API, which become `rules.Rules`.

Enter at `settings` (values become rules) and `files` (openai-replay.toml and pyproject.toml). Must not import the
proxy, click or anything above it.
"""
