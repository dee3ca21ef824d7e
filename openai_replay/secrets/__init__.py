"""Secrets: what they look like, how they are masked, and where one was left."""
