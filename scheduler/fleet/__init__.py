"""Holds what is known of each node."""
