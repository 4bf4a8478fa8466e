"""`python ray_nodes.py COUNT`: a Ray cluster of COUNT nodes of one CPU each, on this machine.

Prints the cluster's address. Then each line of the standard input names a node to kill, by its
number; the cluster ends with the input.
"""

import sys

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    nodes = [cluster.head_node, *(cluster.add_node(**node) for _ in range(int(sys.argv[1]) - 1))]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        cluster.remove_node(nodes[int(line)], allow_graceful=False)
        print("killed", flush=True)
    cluster.shutdown()
