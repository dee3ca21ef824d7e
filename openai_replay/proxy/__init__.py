"""One exchange, from the decision to the journal: play, record, forward or refuse.

Enter at `engine.Engine.answer`. `player` and `recorder` are its two halves, and only `upstream` opens connections.
Must not import the server: it writes to a `client.Client`.
"""
