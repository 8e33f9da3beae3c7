"""Kernels over recorded decisions."""
