"""Fits the predicted quantities."""
