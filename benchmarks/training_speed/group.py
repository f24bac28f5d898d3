"""Processes that train together without Ray, as a launcher would start them."""

import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from typing import Any
from unittest import mock

TIMEOUT = timedelta(minutes=10)  # a process that waits for one that died ends then


def in_group(workers: int, threads: int, run: Callable[..., Any], *arguments: Any) -> list[Any]:
    """run(*arguments) in so many fresh processes with so many threads each; what they return, by rank.

    They find the variables that torch.distributed reads (RANK, WORLD_SIZE, MASTER_ADDR, ...); they join the group themselves.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(workers)}
    with (
        mock.patch.dict(os.environ, shared, OMP_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="false"),
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
    ):
        waiting = [pool.submit(_as_rank, rank, threads, run, arguments) for rank in range(workers)]
        return [one.result() for one in waiting]


def _as_rank(rank: int, threads: int, run: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    import torch

    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # standard output is for the result; DeepSpeed writes there too
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(threads)
    return run(*arguments)


def join_group() -> tuple[int, int]:
    """Joins the processes of `in_group`. Returns this one's rank, and how many they are."""
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=TIMEOUT)
    return dist.get_rank(), dist.get_world_size()
