"""Kernels that join all parts of the state in one compiled call."""
