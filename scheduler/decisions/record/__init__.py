"""What is kept of decisions, outcomes and nodes on disk."""
