"""Kernels of the fleet: who lives as of now, who falls silent next, and which slot an id's key has."""
