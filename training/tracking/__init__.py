"""Keeps runs and versions in MLflow."""
