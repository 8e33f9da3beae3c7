"""Kernels that find decisions in the decision log."""
