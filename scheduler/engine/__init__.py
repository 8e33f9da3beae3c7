"""Runs a decision from its request to its outcome."""
