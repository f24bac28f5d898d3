"""Training on a cluster of several nodes, one of which is lost and comes back."""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_train import make_job, training_log

from rbft_ray.core.resources import Needs
from rbft_ray.stages.train import train

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ELASTIC = Needs(2, min_workers=1)


def test_a_lost_node_costs_workers_and_not_the_run_and_a_new_one_is_used(ray_cluster, clips, base_dir, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {
        "checkpoint_every_steps": 3,
        "recipe": {"epochs": 40, "validate_every_epochs": None},
        "resize_check_sec": 2.0,
        "min_workers": 1,
    }
    train(make_job(clips, base_dir, whole, **settings), Needs(2, min_workers=2))
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(make_job(clips, base_dir, broken, **settings)))
    # After a node is lost Ray Train waits so long for the workers that it had.
    environment = {**os.environ, "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "8"}
    command = [sys.executable, __file__, str(tmp_path / "job.pickle"), str(broken)]
    run = subprocess.run(command, check=True, timeout=500, env=environment, capture_output=True, text=True)
    sizes = [json.loads(line)["workers"] for line in run.stdout.splitlines() if line.startswith('{"workers"')]
    assert sizes == [2, 1, 2], run.stdout
    np.testing.assert_allclose(training_log(broken)["losses"], training_log(whole)["losses"], atol=1e-4)


def wait_for_workers(training: threading.Thread, out: Path, workers: int, after: int) -> int:
    """The step of a checkpoint by so many workers that is later than `after`."""
    while True:
        for file in out.glob("checkpoints/checkpoint_*/state.json"):
            with contextlib.suppress(OSError, json.JSONDecodeError):  # it may be in the making, or be deleted
                state = json.loads(file.read_text())
                if state["workers"] == workers and state["extra"]["step"] > after:
                    print(json.dumps({"workers": workers, "step": state["extra"]["step"]}), flush=True)
                    return state["extra"]["step"]
        assert training.is_alive(), f"training ended before a checkpoint by {workers} workers after step {after}"
        time.sleep(0.05)


def main(job_file: str, out: str) -> None:
    """Trains on a head and a second node; kills the second after a checkpoint, and adds another after the next."""
    import ray
    from ray.cluster_utils import Cluster

    from rbft_ray.runtime.session import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    memory = {"memory": 2 << 30, "object_store_memory": 200 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
    node = cluster.add_node(num_cpus=1, **memory)
    ray.init(address=cluster.address, log_to_driver=False)
    training = threading.Thread(target=train, args=(pickle.loads(Path(job_file).read_bytes()), ELASTIC))
    training.start()
    step = wait_for_workers(training, Path(out), 2, after=0)
    cluster.remove_node(node, allow_graceful=False)
    step = wait_for_workers(training, Path(out), 1, after=step)
    cluster.add_node(num_cpus=1, **memory)
    wait_for_workers(training, Path(out), 2, after=step)
    training.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
