"""The import hook for torchvision, in interpreters of its own: what it declares cannot be undone."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from rbft_ray.model.torchvision_hook import INSTALLED_NAME, install

# -S: no .pth file of this environment runs, so that only the one under test is there
START = """
import json, site, sys
packages, hook_dir, out = sys.argv[1:4]
site.addsitedir(hook_dir)
sys.path.append(packages)  # behind, as it may hold an installed hook of its own
facts = {"torch at start": "torch" in sys.modules}
"""
IMPORT = """
import importlib.util
facts["spec"] = importlib.util.find_spec("torchvision") is not None
facts["no spec"] = importlib.util.find_spec("torchvision_that_is_not_there") is None
facts["torch after find_spec"] = "torch" in sys.modules
import torchvision
from torchvision.transforms.v2 import functional
import torch
facts["size"] = list(functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape)
facts["hooks left"] = sum("Torchvision" in type(finder).__name__ for finder in sys.meta_path)
"""
DECLARE = """
import pathlib, torch, rbft_ray_torchvision_hook as hook
broken, empty, loadable = (pathlib.Path(out).parent / name for name in ("broken", "empty", "loadable"))
for folder in (broken, empty, loadable):
    folder.mkdir()
(broken / "_C.so").write_bytes(b"no library")
(loadable / "_C.so").symlink_to(next(pathlib.Path(torch.__file__).parent.glob("lib/libc10.*")))
has_nms = lambda: hasattr(torch.ops.torchvision, "nms")
facts["nms at start"] = has_nms()
facts["loadable"] = hook.declare_missing_operators(str(loadable))
facts["nms after loadable"] = has_nms()
facts["broken"] = hook.declare_missing_operators(str(broken))
facts["nms after broken"] = has_nms() and hasattr(torch.ops.torchvision, "qnms")
facts["empty, a second time"] = hook.declare_missing_operators(str(empty))
facts["nms at the end"] = has_nms()
"""
END = "\nopen(out, 'w').write(json.dumps(facts))\n"


@pytest.fixture(scope="module")
def hook_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    install(str(folder))
    return folder


def facts_of(script: str, hook_dir: Path, out_dir: Path) -> dict[str, Any]:
    """Runs `script` in a new interpreter with the hook installed in `hook_dir`."""
    out = out_dir / "facts.json"
    subprocess.run(
        [sys.executable, "-S", "-c", START + script + END, sysconfig.get_paths()["purelib"], str(hook_dir), str(out)],
        check=True,
        timeout=120,
    )
    return json.loads(out.read_text())


def test_torchvision_imports_and_torch_only_with_it(hook_dir: Path, tmp_path: Path) -> None:
    assert facts_of(IMPORT, hook_dir, tmp_path) == {
        "torch at start": False,
        "spec": True,
        "no spec": True,
        "torch after find_spec": False,
        "size": [3, 4, 4],
        "hooks left": 0,
    }


def test_operators_are_declared_only_where_none_load(hook_dir: Path, tmp_path: Path) -> None:
    assert facts_of(DECLARE, hook_dir, tmp_path) == {
        "torch at start": False,
        "nms at start": False,
        "loadable": False,
        "nms after loadable": False,
        "broken": True,
        "nms after broken": True,
        "empty, a second time": True,
        "nms at the end": True,
    }


def test_install_writes_the_pth_file_and_a_copy_that_needs_no_package(tmp_path: Path) -> None:
    pth = install(str(tmp_path))
    assert pth == tmp_path / f"{INSTALLED_NAME}.pth"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{INSTALLED_NAME}.pth", f"{INSTALLED_NAME}.py"]
    assert "rbft_ray." not in "".join(
        line
        for line in (tmp_path / f"{INSTALLED_NAME}.py").read_text().splitlines()
        if line.startswith(("import", "from"))
    )
    assert install(str(tmp_path)) == pth, "a second time writes the same"
    assert pth.read_text().count("\n") == 1


def test_a_second_registration_adds_no_second_hook(hook_dir: Path, tmp_path: Path) -> None:
    script = f"""
import {INSTALLED_NAME} as hook
hook.register()
facts["hooks"] = sum(type(finder).__name__ == "_TorchvisionFinder" for finder in sys.meta_path)
"""
    assert facts_of(script, hook_dir, tmp_path)["hooks"] == 1
