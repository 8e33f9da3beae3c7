"""Takes telemetry to a registered model."""
