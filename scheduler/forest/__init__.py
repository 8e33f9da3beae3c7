"""Evaluates a model's trees."""
