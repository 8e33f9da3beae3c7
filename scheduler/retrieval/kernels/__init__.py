"""Kernels that keep and read the index."""
