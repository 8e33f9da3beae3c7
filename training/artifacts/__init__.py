"""Writes models as artifacts."""
