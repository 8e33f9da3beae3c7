"""Kernels that append to records."""
