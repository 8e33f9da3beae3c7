"""Decayed statistics of outcomes, latent factors and change points."""
