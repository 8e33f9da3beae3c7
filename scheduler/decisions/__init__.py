"""Keeps decisions until their outcome is known."""
