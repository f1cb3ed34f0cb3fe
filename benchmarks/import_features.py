"""A folder of computed features comes in; out goes an artifacts folder that is trained on like any other.

    python benchmarks/import_features.py ../shared/features OUT 224 224m

The folder holds a `features.py` whose `load(*views)` returns ids, labels and {view: features}.
"""

import argparse
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import catsdogs


def main() -> None:
    """Import the views that are named, and say what was written and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds features.py")
    parser.add_argument("out", type=Path, help="the artifacts folder")
    parser.add_argument("views", nargs="+", help="such as 224 224m")
    given = parser.parse_args()

    start = time.perf_counter()
    ids, labels, views = load(given.folder / "features.py", given.views)
    loaded = time.perf_counter()
    try:
        catsdogs.import_features(ids, labels, views=views, artifacts=given.out)
    except catsdogs.CatsDogsError as error:
        raise SystemExit(f"error: {error}") from error
    done = time.perf_counter()

    written = [path for path in sorted((given.out / "features").rglob("*")) if path.is_file()]
    for path in written:
        print(f"{path.stat().st_size:>13,}  {path}")
    print(f"{len(ids):,} images, views {', '.join(views)}: loaded in {loaded - start:.1f} s, ", end="")
    print(f"imported in {done - loaded:.1f} s")


def load(path: Path, views: Sequence[str]) -> Any:
    """Return what the `load` of a file gives for some views."""
    spec = importlib.util.spec_from_file_location("features", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"error: there is no {path}. Give the folder that holds it.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(*views)


if __name__ == "__main__":
    main()
