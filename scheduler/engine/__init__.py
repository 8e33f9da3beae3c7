"""Runs one request through retrieval, scoring, choice and reservation, and one outcome into history."""
