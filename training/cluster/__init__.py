"""Training where one machine is too small: telemetry dealt over Dask workers, replayed there, and put together again.

A statistic under a history key depends on the outcomes under this key alone. So each key is replayed by the worker that
owns it: keys of the client by the worker that owns the client, keys of the node by the worker that owns the node. The
features of a row are joined afterwards, and are those that one machine would have found, bit for bit.
"""

from training.cluster.dataset import ClusterDataset, cluster_dataset
from training.cluster.parts import peak_memory
from training.cluster.rehearsal import rehearse_on_cluster
from training.cluster.workers import connect

__all__ = ["ClusterDataset", "cluster_dataset", "connect", "peak_memory", "rehearse_on_cluster"]
