"""Kernels that explain decisions (Shapley values of a pair of rows, the response to one feature) and make them again."""
