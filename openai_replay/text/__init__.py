"""Formats and text helpers: JSON, SSE, multipart, YAML, diffs, sizes.

Enter at the module that is named for the format. Nothing here knows of cassettes, connections or OpenAI: it imports
nothing of ours but `errors` and `model`.
"""
