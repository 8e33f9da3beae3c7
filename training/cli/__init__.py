"""The command ``fogline``."""
