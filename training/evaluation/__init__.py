"""Compares policies on the same requests."""
