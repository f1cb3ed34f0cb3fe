"""Import computed features into an artifacts folder, for `train` and the other benchmarks.

    python benchmarks/import_features.py ../shared/features OUT 224 224m

Input: a folder with a `features.py` whose `load(*views)` returns ids, labels and {view: features}. Prints the size of
each file written, and the times of loading and of importing.
"""

import argparse
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import catsdogs


def main() -> None:
    """Import the given views, and print the files written and the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with features.py")
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
    """Return the result of the function `load` in a file."""
    spec = importlib.util.spec_from_file_location("features", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"error: {path} does not exist. Give the folder that contains it.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(*views)


if __name__ == "__main__":
    main()
