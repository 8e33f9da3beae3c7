"""Kernels that explain: Shapley values of a pair of rows, and the response to one feature."""
