"""What each policy of an evaluation goes by, in a sentence for a reader."""

from __future__ import annotations

ABOUT = {
    "random": "nothing: every candidate with the same chance",
    "node_average": "a moving average of the cost by node",
    "pair_average": "a moving average of the cost by client and node, by node where the pair is new",
    "pair_last": "the last cost of client and node, the node's average where the pair is new",
    "nearest": "the distance between client and node",
    "same_carrier": "whether client and node share a carrier, then the node's average",
    "thompson_node": "draws from a posterior of each node's mean cost",
    "thompson_pair": "draws from a posterior of each client and node's mean cost, whose prior is the node's",
    "low_rank": "latent factors of clients and nodes",
    "linucb": "one linear model with confidence bounds over averages by node, client and pair, the pair's last cost, "
    "whether the pair is new, and carrier and distance where the spec names them",
    "vowpal_wabbit": "an online regression over the ids of client, node and pair, and the features of linucb",
    "oracle": "every outcome beforehand, which nothing can know",
    "learned": "the spec's features",
    "rules": "the hand-written rules that served before",
}
"""By name of the policy; one that a caller adds is not here."""
