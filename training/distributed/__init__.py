"""Trains on several machines.

A statistic under a history key depends on the outcomes under this key alone. So each key is replayed by the worker that
owns it: keys of the client by the worker that owns the client, keys of the node by the worker that owns the node. The
features of a row are joined afterwards. They equal those of one machine, bit for bit.
"""

from training.distributed.dataset import ClusterDataset, cluster_dataset
from training.distributed.on_policy import serve_on_cluster
from training.distributed.replay_shard import peak_memory
from training.distributed.workers import connect

__all__ = ["ClusterDataset", "cluster_dataset", "connect", "peak_memory", "serve_on_cluster"]
