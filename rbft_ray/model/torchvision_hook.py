"""Makes `import torchvision` work where only a CUDA build of it lies beside a CPU build of torch.

Transformers' video processors need torchvision's pure-torch transforms. Beside a CPU torch the compiled operators do not
load, and `import torchvision` then fails with "operator torchvision::nms does not exist". The transforms work once the
schemas of the missing operators are declared. This module declares them just before torchvision is first imported, and does
nothing where the compiled operators load.

Every process needs it (driver, Ray workers, vLLM's engine process), so it is started by a `.pth` file in site-packages:

    python -m rbft_ray.model.torchvision_hook

writes that file and a copy of this module. At interpreter start the copy only registers an import hook: torch is not imported.
"""

import contextlib
import importlib.abc
import importlib.machinery
import pathlib
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from types import ModuleType

INSTALLED_NAME = "rbft_ray_torchvision_hook"
_MISSING_OPERATORS = {
    # torchvision/csrc/ops/nms.cpp and quantized/cpu/qnms_kernel.cpp
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_fragments: list[object] = []  # a torch.library.Library undoes its definitions when it is collected


def declare_missing_operators(package_dir: str) -> bool:
    """Declares the operators if the compiled ones under `package_dir` do not load. Returns whether it did."""
    import torch

    for compiled in pathlib.Path(package_dir).glob("_C*.so"):
        with contextlib.suppress(OSError):  # built for another torch: torchvision itself would ignore it as well
            torch.ops.load_library(str(compiled))
            return False
    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _MISSING_OPERATORS.values():
        try:
            fragment.define(schema)
        except RuntimeError as error:
            if "multiple times" not in str(error) and "already" not in str(error):
                raise
    _fragments.append(fragment)
    return True


class _TorchvisionFinder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "torchvision":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None or not spec.submodule_search_locations:
            return spec
        package_dir = spec.submodule_search_locations[0]
        execute = spec.loader.exec_module

        def declare_then_execute(module: ModuleType) -> None:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            declare_missing_operators(package_dir)
            execute(module)

        spec.loader.exec_module = declare_then_execute  # type: ignore[method-assign]
        return spec


def register() -> None:
    """Puts the import hook in front; called by the `.pth` file at interpreter start."""
    registered = any(type(finder).__name__ == _TorchvisionFinder.__name__ for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not registered:
        sys.meta_path.insert(0, _TorchvisionFinder())


def install(site_packages: str | None = None) -> pathlib.Path:
    """Writes the `.pth` file and a copy of this module into `site_packages` (default: this interpreter's). Returns the path."""
    target = pathlib.Path(site_packages or sysconfig.get_paths()["purelib"])
    shutil.copyfile(__file__, target / f"{INSTALLED_NAME}.py")
    pth = target / f"{INSTALLED_NAME}.pth"
    pth.write_text(f"import {INSTALLED_NAME}; {INSTALLED_NAME}.register()\n")
    return pth


if __name__ == "__main__":
    print(f"wrote {install()}")
