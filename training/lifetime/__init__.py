"""How long nodes stay: sightings as telemetry, and what a model makes of them beside frequencies and Kaplan-Meier."""

from training.lifetime.sightings import write_lifetimes

__all__ = ["write_lifetimes"]
