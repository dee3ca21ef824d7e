"""Settings from flags, variables, files, Python, pytest and the control API, which become `rules.Rules`.

Enter at `settings` (the registry: each setting is one row), `build` (values become rules) and `files`
(openai-replay.toml and pyproject.toml). Must not import the proxy, click or anything above it.
"""
