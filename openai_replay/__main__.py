"""`python -m openai_replay` is `openai-replay`."""

from openai_replay.cli.root import main

if __name__ == "__main__":  # processes that read a large cassette import it, too
    main()
