"""Kernels that choose a slate."""
