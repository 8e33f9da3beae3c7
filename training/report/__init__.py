"""Writes an evaluation as an HTML page."""
