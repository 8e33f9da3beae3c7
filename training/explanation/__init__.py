"""Says what a model has learned."""
