"""Explain decisions after they were made."""
