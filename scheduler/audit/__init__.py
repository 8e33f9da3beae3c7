"""Answers questions about decisions that were made."""
