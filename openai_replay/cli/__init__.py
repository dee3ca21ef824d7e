"""The command line: click commands, and nothing else.

Enter at `root.main`. Each command reads its options and calls `server` or `tools`. The only package that imports
click.
"""
