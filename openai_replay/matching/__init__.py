"""Matching: the key that leads a request to its recording, and the explanation of a miss.

Enter at `matcher.Matcher.key`. `normalizers` replace values that change on every run; `diff`, `suggestions` and
`explain` describe a miss. Pure. Must not import the cassette or anything above it.
"""
