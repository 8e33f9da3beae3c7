"""Stores typed columns under ids."""
