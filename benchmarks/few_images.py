"""Compare heads that are trained on few images, each scored on images that were left out.

    git worktree add ../before 1fd29fd
    python benchmarks/few_images.py ../shared/features --before ../before

Input: a folder with a `features.py`, as for `import_features.py`, and a checkout whose head is the reference. Each
draw takes some images for training, and some of the others for scoring. Prints the log loss of the reference, and a row
of a Markdown table for each number of images and each candidate: the mean paired difference and its standard error, in
the first half of the draws and in the second. What wins in one half only has won by chance. "package", the head of this
checkout, is compared with the reference, and the other candidates with "package".
A file keeps each loss once it is known, so that a run that was stopped goes on where it was.

The other candidates change one thing in the head; those of the intercept and of the folds' heads use its C for "rbf".
With 2,048 images or more, only the transforms and the number of landmarks are compared.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from import_features import load
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from catsdogs import head
from catsdogs.head import TrainingSet, designs
from catsdogs.head.folds import draw_folds
from catsdogs.head.logits import log_losses

_REFERENCE = "reference"
"""Name of the head that the candidates are compared with."""

GRID = range(-8, 15)
"""Values of C around the start of a path, in quarters of a decade."""

Rows, Logits = NDArray[np.float32], NDArray[np.float64]
Rule = Callable[[NDArray[np.int8], dict[int, Logits]], int]


class Draw:
    """The images of a draw, and the path of "rbf" that many candidates share."""

    def __init__(self, views: list[Rows], labels: NDArray[np.int8], count: int, seed: int, scored: int) -> None:
        generator = np.random.default_rng([count, seed])
        rows = generator.permutation(len(labels))
        self.views, self.train, self.test = views, rows[:count], rows[count : count + scored]
        self.labels, self.test_labels = labels[self.train], labels[self.test]
        self.folds = draw_folds(np.arange(count, dtype=">u8").view("V8"), self.labels, seed=seed)

    def training_set(self, views: int = 1, power: float = 0.0) -> tuple[TrainingSet, Rows]:
        """Return the training set and the features to score; roots are divided by this power of their deviation."""
        train, test = (np.hstack([view[rows] for view in self.views[:views]]) for rows in (self.train, self.test))
        if power:
            deviation = np.maximum(np.sqrt(train).std(axis=0), 1e-3) ** (2 * power)
            train, test = train / deviation, test / deviation
        order = np.arange(len(train))  # the rows were drawn
        return TrainingSet(train, self.labels, self.folds, order, np.ones(len(order), bool)), test

    def package(self, views: int = 1) -> Logits:
        """Score by the head of the package."""
        training_set, test = self.training_set(views)
        return head.fit(training_set, head.cross_validate(training_set)).classifier.logits(test)

    def selected(self, *transforms: str, power: float = 0.0) -> Logits:
        """Score by the best of some transforms, by the package's loss."""
        from catsdogs.head.paths import RegularisationPath  # other checkouts may not have it

        training_set, test = self.training_set(power=power)
        found = {name: RegularisationPath(training_set, name) for name in transforms}
        for path in found.values():
            path.search()
            path.refine()
        best = min(found, key=lambda name: found[name].lowest)
        return _head(training_set, best, found[best]).classifier.logits(test)

    @cached_property
    def rbf(self) -> Any:
        """The path of "rbf" over a grid of C."""
        from catsdogs.head.paths import RegularisationPath

        path = RegularisationPath(self.training_set()[0], "rbf")
        for at in GRID:
            path.fit(path._start + at)
        return path

    def ruled(self, rule: Rule) -> Logits:
        """Score by the head whose C a rule selects."""
        training_set, test = self.training_set()
        points, path = self.rbf._points, self.rbf
        at = rule(self.labels, {at: path.out_of_fold(at) for at in points})
        path._points = {at: points[at]}
        fitted = _head(training_set, "rbf", path)
        path._points = points
        return fitted.classifier.logits(test)

    def folds_mean(self) -> Logits:
        """Score by the mean of the folds' heads."""
        design, coefficients = self.rbf.design, self.rbf._solutions[self.rbf.best].coefficients.mean(axis=1)
        similarities = design.kernel.compare(designs.view_average(self.training_set()[1], "rbf"))
        return np.asarray((similarities - design.mean) @ coefficients[:-1] + coefficients[-1])

    def intercept(self, column: float) -> Logits:
        """Score by a head whose intercept is the coefficient of a column, which is penalised like the others."""
        training_set, test = self.training_set()
        fitted = _head(training_set, "rbf", self.rbf)
        rows, more = (fitted.estimator[:-1].transform(of) for of in (training_set.features, test))
        rows, more = (np.column_stack([of - rows.mean(axis=0), np.full(len(of), column)]) for of in (rows, more))
        regression = LogisticRegression(C=10 ** (self.rbf.best / 4), fit_intercept=False, tol=1e-7, max_iter=2000)
        return np.asarray(regression.fit(rows, self.labels).decision_function(more))


def _head(training_set: TrainingSet, transform: str, path: Any) -> head.FittedHead:
    solution, logits = path.final_fit()
    c = 10 ** (path.best / 4)
    return head.fit(training_set, head.CrossValidation(transform, c, {}, {}, logits, path.design, solution))


def added(weight: float) -> Rule:
    """Select C by the log loss with some images of the wrong label added."""

    def select(labels: NDArray[np.int8], of: dict[int, Logits]) -> int:
        wrong = {at: weight / len(labels) * log_losses(1 - labels, logits).mean() for at, logits in of.items()}
        return min(of, key=lambda at: log_losses(labels, of[at]).mean() + wrong[at])

    return select


def within(errors: float) -> Rule:
    """Select the smallest C whose log loss is within some standard errors of the lowest."""

    def select(labels: NDArray[np.int8], of: dict[int, Logits]) -> int:
        losses = {at: log_losses(labels, logits) for at, logits in of.items()}
        best = min(losses.values(), key=np.mean)
        limit = best.mean() + errors * best.std(ddof=1) / np.sqrt(len(labels))
        return min(at for at, of_images in losses.items() if of_images.mean() <= limit)

    return select


def with_gamma(draw: Draw, factor: float) -> Logits:
    """Score by "rbf" with another width of the kernel."""
    with mock.patch.object(designs, "_GAMMA", factor * designs._GAMMA):
        return draw.selected("rbf")


def with_landmarks(draw: Draw, count: int) -> Logits:
    """Score by "rbf" with another number of landmarks."""
    other = {"are_few": lambda _: False, "landmark_count": lambda _: count}
    with mock.patch.multiple("catsdogs.head.paths", **other), mock.patch.multiple("catsdogs.head.fitting", **other):
        return draw.selected("rbf")


def candidates(draw: Draw) -> Iterator[tuple[str, Callable[[], Logits]]]:
    """Return the candidates by name."""
    yield "package", draw.package
    if len(draw.views) > 1:
        yield "package, two views", lambda: draw.package(2)
    yield "rbf only", lambda: draw.selected("rbf")
    if not designs.are_few(len(draw.train)):
        for factor in (0.5, 2.0):
            count = round(factor * designs.landmark_count(len(draw.train)))
            yield f"rbf, {count:,} landmarks", lambda count=count: with_landmarks(draw, count)
        yield "sqrt only", lambda: draw.selected("sqrt")
        return
    yield "rbf, 448 landmarks", lambda: with_landmarks(draw, 448)
    yield "sqrt only", lambda: draw.selected("sqrt")
    yield "identity only", lambda: draw.selected("identity")
    yield "best of the three transforms", lambda: draw.selected("rbf", "sqrt", "identity")
    for factor in (0.5, 2.0):
        yield f"rbf, gamma times {factor:g}", lambda factor=factor: with_gamma(draw, factor)
    for power in (0.5, 1.0):
        yield f"rbf, roots over deviation^{power:g}", lambda power=power: draw.selected("rbf", power=power)
    for weight in (0.0, 0.1, 0.5, 1.0):
        yield f"rbf, {weight:g} wrong images added", lambda weight=weight: draw.ruled(added(weight))
    for errors in (0.25, 1.0):
        yield f"rbf, within {errors:g} standard errors", lambda errors=errors: draw.ruled(within(errors))
    yield "rbf, mean of the folds' heads", draw.folds_mean
    yield "rbf, intercept penalised", lambda: draw.intercept(1.0)
    yield "rbf, intercept fixed by centring", lambda: draw.intercept(0.0)


def main() -> None:
    """Score the candidates, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with features.py")
    parser.add_argument("views", nargs="*", default=["224", "224m"], help="the view to compare on, and another one")
    parser.add_argument("--before", type=Path, help="a checkout; without it, this one is the reference")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 200, 500, 1000, 2000, 5000])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=[], help="names of candidates")
    parser.add_argument("--score", type=int, default=20_000, help="number of images to score")
    parser.add_argument("--losses", type=Path, default=Path("few_images.jsonl"), help="file that keeps all losses")
    given = parser.parse_args()

    if given.before:  # a process of its own adds the losses of the other checkout
        command = [sys.executable, *(of for of in sys.argv if of != str(given.before) and of != "--before")]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(given.before)}, check=True)
    _, labels, views = load(given.folder / "features.py", given.views)
    kept = _read(given.losses)
    for count in given.counts:
        for seed in range(given.draws):
            draw = Draw([views[name] for name in given.views], labels, count, seed, given.score)
            of_draw = candidates(draw) if given.before else [(_REFERENCE, draw.package)]
            for name, logits in of_draw:
                key = given.views[0], count, given.score, seed, name
                if key not in kept and (not given.only or name in [_REFERENCE, "package", *given.only]):
                    kept[key] = float(log_losses(draw.test_labels, logits()).mean())
                    with given.losses.open("a") as file:
                        file.write(json.dumps([*key, kept[key]]) + "\n")
        if given.before:
            _print_rows(kept, given.views[0], count, given.score, given.draws)


def _read(path: Path) -> dict[tuple[str, int, int, int, str], float]:
    """Return the losses that the file keeps, by view, number of images, number scored, draw and candidate."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(view, count, score, seed, name): loss for view, count, score, seed, name, loss in lines}


def _print_rows(
    kept: dict[tuple[str, int, int, int, str], float], view: str, count: int, score: int, draws: int
) -> None:
    """Print the rows of the table for a number of images."""
    names = [name for *at, seed, name in kept if at == [view, count, score] and seed == 0]
    losses = {name: np.array([kept[view, count, score, seed, name] for seed in range(draws)]) for name in names}
    reference = losses.pop(_REFERENCE)
    print(f"{count} images, view {view}: log loss of the reference {reference.mean():.4f}", flush=True)
    for name, of_draws in losses.items():
        halves = np.array_split(of_draws - (reference if name == "package" else losses["package"]), 2)
        cells = [f"{half.mean():+.4f} ± {half.std(ddof=1) / np.sqrt(len(half)):.4f}" for half in halves]
        print(f"| {count} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
