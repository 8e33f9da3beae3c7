"""Kernels that score candidates with a forest."""
