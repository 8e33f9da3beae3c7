"""Keeps runs in MLflow."""
