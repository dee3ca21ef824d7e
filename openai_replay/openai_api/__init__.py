"""Meaning of OpenAI's JSON: what a request asks for, what a response or stream says, its tokens and ids.

Enter at `requests.asked`, `stream_assembler.assembled` and `transcript`. Pure. Must not import `redaction` or
anything above it.
"""
