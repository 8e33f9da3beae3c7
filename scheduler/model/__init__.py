"""Loads, verifies and calibrates a trained model."""
