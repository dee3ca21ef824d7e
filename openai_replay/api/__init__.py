"""What the API's JSON means: its questions, its answers and streams, their ids and defaults, and what they cost."""
