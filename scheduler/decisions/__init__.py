"""Decisions, and the log of those that wait for their outcome."""
