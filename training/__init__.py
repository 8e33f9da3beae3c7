"""Offline side of fogline: telemetry in, a verified model in the registry out."""
