"""From telemetry to a registered model."""
