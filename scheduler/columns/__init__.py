"""Ids as 64-bit keys, and typed columns of nodes, clients and requests."""
