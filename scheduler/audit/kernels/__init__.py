"""Kernels that explain decisions, by Shapley values and responses to a feature, and kernels that make them again."""
