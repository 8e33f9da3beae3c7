"""Evaluates a model's trees by masks and splits."""
