"""Texts and formats that are not ours, as pure functions: JSON, events, forms, YAML, patterns, and how to show them."""
