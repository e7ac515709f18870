"""Build hook: compiles the kernels for the machine that builds; on any other they are compiled on first use."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelsHook(BuildHookInterface):
    """Compiles into the folder of the package for an editable install, and otherwise into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles the kernels.

        Args:
            version: "standard" or "editable".
            build_data: what goes into the wheel; changed.
        """
        self.folder = tempfile.TemporaryDirectory()  # until the wheel is written
        cache = {} if version == "editable" else {"NUMBA_CACHE_DIR": self.folder.name}
        program = "import pcseg.kernels as k; list(k.compile_kernels()[1])"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([self.root, *sys.path])} | cache
        subprocess.run([sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL, check=True)
        files = [path for path in Path(self.folder.name).rglob("*") if path.is_file()]
        build_data["force_include"] |= {str(path): f"pcseg/kernels/__pycache__/{path.name}" for path in files}
        if files:
            build_data |= {"pure_python": False, "infer_tag": True}
