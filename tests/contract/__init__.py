"""The contract with the people's own code: real libraries from the registries, each in an environment of its own.

    make contract                               # all, and docs/clients.md
    python -m tests.contract litellm instructor # some of them

Not a part of `make test`: it installs packages, and takes minutes.
"""
