"""Computes the model input of each candidate by the spec."""
