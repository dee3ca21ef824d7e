"""Meaning of OpenAI's JSON: the messages of requests, responses and streams, their tokens and IDs.

Enter at `requests.parse_request`, `stream_assembler.assembled` and `transcript`. Pure. Must not import `redaction` or
anything above it.
"""
