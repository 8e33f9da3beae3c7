"""Off-policy evaluation: what a policy would have cost, estimated from what another one logged."""
