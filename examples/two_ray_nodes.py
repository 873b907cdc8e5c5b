"""Meta-training on a Ray cluster of two nodes, both on this machine. Usage: python two_ray_nodes.py [FOLDER]

On real machines, `ray start --head` on the first, `ray start --address=FIRST:6379` on the others, and
`velo-meta-train laptop --execution.address FIRST:6379 --execution.num-processes CORES` anywhere among them.
"""

import dataclasses
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

import velo
from configs.meta_training import PRESETS
from meta_train.run import run


def main(folder="runs/two_ray_nodes", settings=PRESETS["demo"].settings):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        execution = dataclasses.replace(settings.execution, executor="ray", num_processes=2, address=cluster.address)
        weights = run(dataclasses.replace(settings, execution=execution), Path(folder))
        print(velo.weights_info(weights).record["outer_steps"], "outer steps:", weights)
        return weights
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
