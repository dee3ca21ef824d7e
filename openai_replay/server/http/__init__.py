"""One HTTP connection: it parses requests, has them answered, and writes the responses byte for byte.

Enter at `protocol.HttpProtocol`, which gives each request to the handler that it was made with. `request` and
`response` are the two halves of an exchange, `encoding` is the pure part of the response. `protocol` alone knows
aiohttp's parser. Must not import the app or the sessions.
"""
