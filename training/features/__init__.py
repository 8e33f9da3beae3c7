"""Turns telemetry into rows of features."""
