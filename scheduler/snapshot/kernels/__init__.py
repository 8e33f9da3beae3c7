"""Compiled code of snapshots."""
