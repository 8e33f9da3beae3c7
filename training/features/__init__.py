"""Turns telemetry into rows of features and targets."""
