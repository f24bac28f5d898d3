"""The command as a user meets it: exit codes, one-line errors, dry runs."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rbft_ray.core.errors import ConfigError, DataError, ResourceError, StorageError
from rbft_ray.core.resources import Cluster
from rbft_ray.pipeline.checks import length_warnings, precision_warnings
from rbft_ray.pipeline.job import STOPPED
from rbft_ray.pipeline.recipes import plan
from rbft_ray.pipeline.settings import load_config, parse_config

ROOT = Path(__file__).parents[2]
RBFT = [sys.executable, "-m", "rbft_ray.cli"]


def rbft(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RBFT, *arguments], capture_output=True, text=True, cwd=cwd, check=False, timeout=300)


def errors(done: subprocess.CompletedProcess[str]) -> str:
    """What a user sees of a failure: one line, no traceback."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "nowhere.yaml"], ConfigError.exit_code, "nowhere.yaml"),
        (["run", "demo", "--set", "train.stage1.epoch=2"], ConfigError.exit_code, "train.stage1.epoch: unknown key"),
        (["run", "demo", "--set", "train.workers=two"], ConfigError.exit_code, "train.workers"),
        (
            ["run", "demo", "--set", "train.workers=2", "--set", "train.min_workers=3"],
            ConfigError.exit_code,
            "min_workers must not be above workers",
        ),
        (["run", "demo", "--set", "data.manifest=gone.csv"], DataError.exit_code, "gone.csv"),
        (["run", "demo", "--set", "data.manifest=empty.csv"], DataError.exit_code, "empty.csv: the manifest is empty"),
        (["run", "demo", "--set", "storage=a-file"], StorageError.exit_code, "a-file"),
        (["run", "demo", "--set", "model.base=./gone"], DataError.exit_code, "model.base"),
        (["serve", "gone"], DataError.exit_code, "gone"),
    ],
)
def test_a_mistake_is_one_line_that_names_what_is_wrong(tmp_path, arguments, code, says):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "a-file").write_text("in the way")
    done = rbft(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert says in errors(done)


def test_a_base_that_frames_do_not_suit_is_refused_before_anything_runs(tmp_path):
    from families import write_family

    base = write_family("qwen3_vl", tmp_path / "base")  # patches of 16 px, merged by two; the default is for 14 px
    done = rbft("run", "demo", "--set", f"model.base={base}", cwd=tmp_path)
    assert done.returncode == ConfigError.exit_code
    assert "sampling.multiple_px" in errors(done)
    assert "set it to 32" in errors(done)
    assert not list(tmp_path.glob("runs/steps/*"))


@pytest.mark.parametrize(
    ("overrides", "code", "says"),
    [
        (["storage=a-file/runs"], StorageError.exit_code, "a-file is a file"),
        (["train.trackers=[no_such_tracker]"], ConfigError.exit_code, "no_such_tracker"),
        (["sampling.multiple_px=32"], ConfigError.exit_code, "sampling.multiple_px"),
    ],
)
def test_a_dry_run_finds_what_would_stop_the_run(tmp_path, overrides, code, says):
    (tmp_path / "a-file").write_text("in the way")
    done = rbft("run", "demo", "--dry-run", *(part for text in overrides for part in ("--set", text)), cwd=tmp_path)
    assert done.returncode == code
    assert says in errors(done)


@pytest.mark.parametrize("arguments", [[], ["config"], ["demo"], ["prompts"]])
def test_a_command_without_its_name_is_help_and_no_error(tmp_path, arguments):
    done = rbft(*arguments, cwd=tmp_path)
    assert done.returncode == ConfigError.exit_code
    assert "Usage:" in done.stdout + done.stderr
    assert "error:" not in done.stderr


@pytest.mark.ray
def test_ctrl_c_says_how_to_go_on(tmp_path):
    interactive = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [
        sys.executable,
        "-c",
        interactive,
        *RBFT,
        "run",
        "demo",
    ]  # a shell's job in the background ignores SIGINT
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True) as job:
        for line in job.stdout:
            if "render" in line:
                break
        job.send_signal(signal.SIGINT)
        said = job.stderr.read()
    assert job.returncode == STOPPED
    assert "stopped; the same command goes on where it was" in said
    assert "Traceback" not in said


def test_an_unknown_option_is_no_traceback(tmp_path):
    done = rbft("run", "demo", "--frobnicate", cwd=tmp_path)
    assert done.returncode == ConfigError.exit_code
    assert "--frobnicate" in errors(done)


def test_the_7b_config_plans_without_network_and_lists_missing_gpus(tmp_path):
    (tmp_path / "videos.csv").write_text("path,label,split\na.mp4,x,train\nb.mp4,y,train\nc.mp4,x,test\nd.mp4,y,test\n")
    done = rbft("run", str(ROOT / "jobs/configs/qwen2.5-vl-7b.yaml"), "--dry-run", cwd=tmp_path)
    assert done.returncode == ResourceError.exit_code
    assert "8 GPUs needed, 0 there" in errors(done)
    assert "train_stage1" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_base_of_ones_own_in_fp32_on_gpus_is_pointed_out():
    plain = parse_config({"model": {"base": "org/base"}, "ray": {"use_gpu": True}})
    gpus = Cluster(({"CPU": 8.0, "GPU": 1.0},))
    assert [line.split(":")[0] for line in precision_warnings(plain, gpus)] == ["model.dtype", "train.precision"]
    half = parse_config({"model": {"base": "org/base", "dtype": "bfloat16"}, "train": {"precision": "bf16"}})
    on_cpus = parse_config({"model": {"base": "org/base"}, "ray": {"use_gpu": False}})
    for config in (half, on_cpus, parse_config({"ray": {"use_gpu": True}})):
        assert precision_warnings(config, gpus) == []


def test_clips_that_do_not_fit_are_told_before_the_run():
    assert length_warnings(plan(load_config("demo"))) == []
    long = plan(load_config("demo", ["rationalize.max_model_len=200", "train.max_tokens=300"]))
    told = length_warnings(long)
    assert [line.split(":")[0] for line in told] == ["rationalize.max_model_len", "train.max_tokens"]
    assert all("sampling.max_pixels" in line for line in told)


def test_help_is_light():
    code = "import sys, rbft_ray.cli; print([m for m in ('torch', 'ray', 'transformers', 'vllm') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_default_is_shown(tmp_path):
    done = rbft("config", "show", "--set", "seed=3", cwd=tmp_path)
    assert done.returncode == 0
    assert "seed: 3" in done.stdout
    assert "  # share of the steps in which rates rise; then cosine to 0\n    warmup_ratio: 0.03\n" in done.stdout


def test_the_demo_config_of_the_jobs_folder_is_the_packaged_one():
    assert (ROOT / "jobs/configs/demo.yaml").read_text() == (ROOT / "rbft_ray/demo/demo.yaml").read_text()
