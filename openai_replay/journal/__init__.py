"""The outcome of each request: in memory, as JSON Lines, on the terminal, in the log.

Enter at `exchanges.Journal`. Must not import the proxy or anything above it.
"""
