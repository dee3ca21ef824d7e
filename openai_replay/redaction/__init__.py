"""Secrets: how keys look, how they are found, and how they are masked.

Enter at `redactor.Redactor`, which runs before the key of a request is made and before anything is written;
`key_shapes` is the table of keys. Must not import matching or anything above it.
"""
