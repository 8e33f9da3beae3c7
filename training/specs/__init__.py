"""Finds and writes specs."""
