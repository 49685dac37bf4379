"""Databases: from a text to a statement, from a URL to a connection, from rows to a frame and back."""
