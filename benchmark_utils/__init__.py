"""benchopt's hook: benchopt loads it before any solver, in every process.

A clone runs its own package, installed or not, from any folder, in the
client and in each worker.
"""
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from benchopt.benchmark import get_running_benchmark
from joblib import register_parallel_backend

ROOT = Path(__file__).resolve().parents[1]


def load_package(name):
    """Import a package of this clone under its own name.

    Raises
    ------
    ImportError
        Where this process has already imported the package of another clone.
    """
    path = ROOT / name / "__init__.py"
    if name in sys.modules:
        found = Path(sys.modules[name].__file__).resolve()
        if found != path:
            raise ImportError(
                f"{name}: this process has imported {found}, but the "
                f"benchmark is {ROOT}; run each clone in a process of its own"
            )
        return
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[str(path.parent)]
    )
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def make_package(folder):
    """Let files of a folder import one another: ``from .shine import …``.

    benchopt loads each as benchopt_benchmarks.CLONE.FOLDER.FILE, but does not
    make the package.
    """
    name = f"benchopt_benchmarks.{ROOT.name}.{folder}"
    package = ModuleType(name)
    package.__path__ = [str(ROOT / folder)]
    sys.modules.setdefault(name, package)


def make_absolute(benchmark):
    """Let "benchopt run ." mean this folder in workers that live elsewhere."""
    benchmark.benchmark_dir = Path(benchmark.benchmark_dir).absolute()


load_package("benchmark_shine")
make_package("solvers")
workers = importlib.import_module("benchmark_shine.bench.workers")
register_parallel_backend("dask", workers.dask_backend)
if get_running_benchmark() is not None:
    make_absolute(get_running_benchmark())
    selection = importlib.import_module("benchmark_shine.bench.selection")
    selection.watch(get_running_benchmark())
importlib.import_module("benchmark_shine.bench.plan").announce()
