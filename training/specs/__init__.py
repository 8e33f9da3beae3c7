"""Finds specs by name."""
