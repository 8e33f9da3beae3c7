"""Kernels that compute features."""
