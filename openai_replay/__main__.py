"""`python -m openai_replay` is `openai-replay`."""

from openai_replay.cli import main

main()
