"""Finds candidates for a request in an index by category."""
