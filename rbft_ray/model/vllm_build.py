"""Which build of vLLM is installed, and the environment that a process with an engine needs."""

import importlib.metadata

from rbft_ray.core.errors import ConfigError

# vLLM reads these when it starts, so they go into the environment of the process that holds it.
VLLM_CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # glibc gives large blocks back to the system and asks for them again in every step; keeping them is a tenth faster.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 31),
}
VLLM_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives and dies with the Ray actor that holds it
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def is_cpu_build() -> bool:
    """Whether this is the CPU stack, whose vLLM and torch know no GPUs."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def vllm_environment(gpu: bool) -> dict[str, str]:
    """Environment variables of a process that will hold a `VllmEngine`.

    Raises:
        ConfigError: it would have no GPU, and the installed build computes on nothing else.
    """
    if gpu:
        return VLLM_ENVIRONMENT
    if not is_cpu_build():
        raise ConfigError(
            "vLLM's CUDA build does not compute on CPUs, and there is no GPU, or ray.use_gpu is false: "
            "use GPUs, or install the CPU stack (`make clean install`)"
        )
    return {**VLLM_ENVIRONMENT, **VLLM_CPU_ENVIRONMENT}
