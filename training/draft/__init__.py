"""Drafts a spec from raw telemetry."""
