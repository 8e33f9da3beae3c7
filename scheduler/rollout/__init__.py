"""Brings new model versions from a registry into a running scheduler."""
