"""Kernels that calibrate scores."""
