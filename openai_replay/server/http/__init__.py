"""One HTTP connection: requests are parsed, responses are written byte for byte.

Enter at `protocol.Connection`. The only package that knows aiohttp's parser. Must not import the app or the sessions:
it calls what it is given.
"""
