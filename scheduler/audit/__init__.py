"""Answers questions about decisions that were made, and makes them again."""
