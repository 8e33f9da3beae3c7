"""Turns records of decisions into a telemetry directory."""
