"""Loads a verified model."""
