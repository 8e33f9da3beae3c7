"""Kernels that keep history."""
