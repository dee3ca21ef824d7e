"""Formats and text helpers: JSON, SSE, multipart, YAML, headers, diffs, sizes.

Enter at the module that is named for the format. Nothing here knows cassettes, connections or OpenAI. Must not import
any module of the project except `errors` and `model`.
"""
