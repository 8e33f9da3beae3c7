"""Remembers outcomes as decayed statistics."""
