"""Brings new versions of the model into a running scheduler."""
