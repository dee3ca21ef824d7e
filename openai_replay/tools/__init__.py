"""Works on cassette files: one module per command, such as `show`, `lint`, `redact`, `prune`, `refresh` or `stats`.

Enter at the module that is named for the command. `importers` and `exporters` convert from and to other formats. Must
not import the server or the command line.
"""
