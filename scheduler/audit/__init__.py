"""Decides recorded decisions again."""
