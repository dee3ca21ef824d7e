"""The cassette: the file, its format, and the recordings on it.

Enter at `cassette.Cassette`. `reader` and `writer` are the format, `file_store` is the durable append. Only the
reader imports yaml and vcr. Must not import config, the proxy or anything above it.
"""
