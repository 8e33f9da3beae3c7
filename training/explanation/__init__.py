"""Says what a model has learned: importance, partial dependence, and a small tree of rules with its agreement."""
