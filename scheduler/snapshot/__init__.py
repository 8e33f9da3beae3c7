"""Keeps a scheduler's state on disk: whole, verified, written while decisions go on."""
