"""Fits and calibrates the predicted quantities."""
