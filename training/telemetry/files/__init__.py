"""The files of a telemetry directory: their types brought together, and opened as one frame."""
