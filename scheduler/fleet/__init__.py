"""Nodes: their columns, heartbeats, quarantine and uplink."""
