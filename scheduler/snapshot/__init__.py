"""Keeps the state on disk."""
