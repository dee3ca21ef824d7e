"""The process that serves HTTP: base URLs, sessions, access, the control API, start and stop.

Enter at `serve.serving` (a running server) and `app.App.answer` (one request). Must not import the command line or
pytest.
"""
