"""One module per command that works on cassette files: show, lint, redact, prune, refresh, import, export.

Enter at the module that is named for the command. Must not import the server or the command line.
"""
