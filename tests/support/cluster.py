"""Run the program with `--ray local`, its workers with the backbone of NumPy and with faults."""

from .program import start

HOOK = """
import os, sys
if any("default_worker" in argument for argument in sys.orig_argv):
    import support.backbone
    support.backbone.install()
    exec(os.environ.get("WORKER_CODE", ""))
"""
"""Python runs it as `sitecustomize` at the start of each process of Ray."""

LOGGED = """
import signal
from pathlib import Path
from catsdogs.cache import shards
log, write, plan = Path(os.environ["WORKER_LOG"]), shards.write_atomic, [*map(int, os.environ.get("KILLS", "").split())]
def note(name, count):
    with (log / name).open("a") as file:
        file.write(f"{count}\\n")
def steps():
    return len(log.joinpath("steps").read_text().split()) if log.joinpath("steps").exists() else 0
def step():
    note("steps", 1)
    if steps() in plan:
        note("kills", 1)
        os.kill(os.getpid(), signal.SIGKILL)
def write_and_die(path, *content, **options):
    step()
    write(path, *content, **options)
    if path.suffix == ".npy":
        note("rows", shards.npy.count_rows(path, shards._dtype(shards._views(path))))
    step()
shards.write_atomic = write_and_die
"""
"""Notes in a folder how many rows each shard has, and kills the worker before or after some of its writes."""


LOGGED_FILES = """
import signal
from pathlib import Path
from catsdogs.cache import parquet
log, write, plan = Path(os.environ["WORKER_LOG"]), parquet.write_atomic, [*map(int, os.environ["KILLS"].split())]
def note(name):
    with (log / name).open("a") as file:
        file.write("1\\n")
def step():
    note("steps")
    if len((log / "steps").read_text().split()) in plan:
        note("kills")
        os.kill(os.getpid(), signal.SIGKILL)
def write_and_die(path, content, **options):
    step()
    write(path, content, **options)
    note(path.name)
    step()
parquet.write_atomic = write_and_die
"""
"""The same of files of Parquet: notes the name of each file that is written."""


def extract_on_ray(data, artifacts, weights, folder, *options, code="", driver="", name="extract", **environment):
    """Start an extraction or another command by Ray. `code` runs in each worker, `driver` in the program."""
    (folder / "hook").mkdir(exist_ok=True, parents=True)
    (folder / "hook/sitecustomize.py").write_text(HOOK)
    given = {"WORKER_CODE": code, "WORKER_LOG": str(folder), **environment}
    before = f"import os; os.environ['PYTHONPATH'] += os.pathsep + {str(folder / 'hook')!r}; os.environ |= {given!r}"
    arguments = [name, data, "--artifacts", artifacts, "--weights", weights, "--ray", "local", *options]
    return start(*arguments, before=f"{before}\n{driver}")


def noted(folder, name):
    path = folder / name
    return [int(line) for line in path.read_text().split()] if path.exists() else []
