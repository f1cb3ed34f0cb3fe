"""Compare alternative heads by their out-of-fold log loss and their CPU time.

    python benchmarks/heads.py ../shared/features 224 224m --seeds 5
    python benchmarks/heads.py ../shared/features --only "rbf 512,nested"

Input: a folder with a `features.py`, as for `import_features.py`. Prints a row of a Markdown table for each idea: its
log loss and, on the same folds, the difference to plain logistic regression on the first view and to rbf with 512
landmarks on the same views (whatever the package uses). Standard errors are over the images, of their mean losses over
the seeds. The spread is the standard deviation of the first difference over the seeds of the folds.

An idea selects its parameters without the images that it is scored on, except for C: as in the package, the folds that
score it select C. The nested rows do not have this exception. Steps that use no labels (deviations, the width of the
kernel, near-duplicates) use all images.

Slow ideas have fewer seeds. CPU seconds are for the first seed, over all threads: the selection of C without a warm
start, with the features in memory. `choice_of_c.py` measures wall time.
"""

import argparse
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from import_features import load
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from trial_heads import Bench, Images, Linear, Margins, Rbf, Spec, Split, losses_of

from catsdogs.cache import group_keys
from catsdogs.cache.neighbours import connected_groups, find_pairs
from catsdogs.head.designs import landmark_count
from catsdogs.head.folds import FOLDS, draw_folds

LANDMARKS = landmark_count(25_000)

PLAIN = Linear(1)

_SEEDS_OF_SLOW = 2

Idea = Callable[[Bench, Split], Margins]
"""A function that returns the margins of the scored images."""


def one(spec: Spec) -> Idea:
    """Fit one head."""
    return lambda bench, split: bench.margins(spec, split)


def average(*specs: Spec) -> Idea:
    """Average the margins of several heads."""
    return lambda bench, split: np.mean([bench.margins(spec, split) for spec in specs], axis=0)


def best(*ideas: Idea) -> Idea:
    """Select the idea that is best on the other folds."""

    def choose(bench: Bench, split: Split) -> Margins:
        candidates, out = [idea(bench, split) for idea in ideas], np.empty(len(split.folds))
        for held, rest in split.calibrations():
            losses = [losses_of(bench.images.labels, margins)[rest].mean() for margins in candidates]
            found = candidates[int(np.argmin(losses))]
            out = found if not split.trained.all() else np.where(held, found, out)
        return out

    return choose


def calibrate(idea: Idea, *, temperature: bool, mixture: bool) -> Idea:
    """Divide the margins by a temperature and mix the probabilities with 1/2: ``(1 - 2 e) p + e`` (Copas 1988)."""

    def fit(bench: Bench, split: Split) -> Margins:
        margins, labels = idea(bench, split), bench.images.labels
        out = margins.copy()
        for held, rest in split.calibrations():

            def change(given: NDArray[np.float64], rows: NDArray[np.bool_]) -> Margins:
                heat, e = np.exp(given[0]) if temperature else 1.0, expit(given[1]) / 2 if mixture else 0.0
                cooled = margins[rows] / heat
                return _logit(e + (1 - 2 * e) * expit(cooled)) if mixture else cooled

            def loss(given: NDArray[np.float64], rest: NDArray[np.bool_] = rest) -> float:
                return float(losses_of(labels[rest], change(given, rest)).mean())

            found = minimize(loss, [0.0, -7.0], method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-8}).x
            out[held] = change(found, held)
        return out

    return fit


def nested(idea: Idea, seed: int) -> Idea:
    """Score each fold of the split by an idea selected and fitted on the other folds only."""

    def fit(bench: Bench, split: Split) -> Margins:
        out = np.empty(len(split.folds))
        for fold in range(FOLDS):
            held, inner = split.folds == fold, np.full(len(split.folds), FOLDS, np.int8)
            inner[~held] = draw_folds(bench.images.keys[~held], bench.images.labels[~held], seed=seed + 1 + fold)
            out[held] = idea(bench, Split(inner))[held]
        return out

    return fit


def _logit(probabilities: Margins) -> Margins:
    return np.asarray(np.log(probabilities) - np.log1p(-probabilities))


@dataclass(frozen=True)
class Trial:
    """An idea, its name, its number of views, and its largest number of seeds."""

    name: str
    views: int
    idea: Idea
    seeds: int = 99


def trials(views: int) -> list[Trial]:
    """Return all trials."""
    found = []
    for v in range(1, views + 1):
        rbf, sqrt = Rbf(v), Linear(v, 0.5)
        found += [
            Trial("identity (plain logistic regression)" if v == 1 else "identity", v, one(Linear(v))),
            Trial("sqrt", v, one(sqrt)),
            Trial("rbf, 512 landmarks", v, one(rbf)),
            Trial(f"rbf as in the package, {LANDMARKS} landmarks", v, one(Rbf(v, LANDMARKS))),
            Trial("temperature on rbf 512", v, calibrate(one(rbf), temperature=True, mixture=False)),
            Trial("mixture with 1/2 on rbf 512", v, calibrate(one(rbf), temperature=False, mixture=True)),
            Trial("temperature and mixture on rbf 512", v, calibrate(one(rbf), temperature=True, mixture=True)),
            Trial("average of sqrt and rbf 512", v, average(sqrt, rbf)),
            Trial("average of two rbf 512 with different landmarks", v, average(rbf, Rbf(v, draw=1))),
            *(
                Trial(
                    f"rbf 512, weighted, rounds: {rounds}",
                    v,
                    one(Rbf(v, rounds=rounds)),
                    _SEEDS_OF_SLOW,
                )
                for rounds in (1, 3)
            ),
            *(Trial(f"rbf, {count} landmarks", v, one(Rbf(v, count)), _SEEDS_OF_SLOW) for count in (256, 1024, 2048)),
            *(Trial(f"rbf 512, gamma {gamma}", v, one(Rbf(v, gamma=gamma)), _SEEDS_OF_SLOW) for gamma in (0.75, 3.0)),
        ]
    return found + _slow_trials(views)


def _slow_trials(v: int) -> list[Trial]:
    sqrt, wide, two = Linear(v, 0.5), Rbf(v, 2048), (Rbf(v, 1024), Rbf(v, 1024, draw=1))
    four = [*two, Rbf(v, 1024, draw=2), Rbf(v, 1024, draw=3)]
    singles: dict[str, Spec] = {
        **{f"rbf 512, draw {draw} of the landmarks": Rbf(v, draw=draw) for draw in (1, 2, 3)},
        **{f"rbf 1024, draw {draw} of the landmarks": Rbf(v, 1024, draw=draw) for draw in (1, 2, 3)},
        "rbf 1024, gamma 3.0": Rbf(v, 1024, gamma=3.0),
        "rbf 1024, with the C of rbf 512": Rbf(v, 1024, path_with=512),
        "rbf 2048, with the C of rbf 512": Rbf(v, 2048, path_with=512),
        "rbf 2048, gamma 3.0, with the C of rbf 512": Rbf(v, 2048, gamma=3.0, path_with=512),
        **{f"power {power}": Linear(v, power) for power in (0.25, 0.35, 0.7)},
        "sqrt, length 1": Linear(v, 0.5, length_1=True),
        **{f"sqrt, over deviation^{power}": Linear(v, 0.5, divided=power) for power in (0.5, 1.0)},
    }
    slow: dict[str, Spec] = {f"sqrt, covariance^-{power}": Linear(v, 0.5, whitened=power) for power in (0.15, 0.3)}
    for joined in ("side by side", "mean and difference", "minimum and maximum") if v > 1 else ():
        slow[f"sqrt, {joined}"] = Linear(v, 0.5, joined)
    averages = {
        "two rbf 1024": average(*two),
        "four rbf 1024": average(*four),
        "rbf 2048 and sqrt": average(wide, sqrt),
    }
    cool = {**averages, "rbf, 2048 landmarks": one(wide)}
    selected = best(one(Rbf(v)), one(two[0]), averages["two rbf 1024"], one(wide))
    calibrated = calibrate(selected, temperature=True, mixture=True)
    widths = one(two[0]), one(singles["rbf 1024, gamma 3.0"])
    return [
        *(Trial(name, v, one(spec), _SEEDS_OF_SLOW) for name, spec in singles.items()),
        *(Trial(f"average of {name}", v, idea, _SEEDS_OF_SLOW) for name, idea in averages.items()),
        *(
            Trial(f"temperature on {name}", v, calibrate(idea, temperature=True, mixture=False), _SEEDS_OF_SLOW)
            for name, idea in cool.items()
        ),
        Trial("nested: rbf 512", v, nested(one(Rbf(v)), 0), 1),
        Trial("nested: rbf 512, two draws averaged", v, nested(average(Rbf(v), Rbf(v, draw=1)), 0), 1),
        Trial("nested: the best of rbf 512, 1024, two 1024, 2048", v, nested(selected, 0), 1),
        Trial("nested: the previous, with temperature and mixture", v, nested(calibrated, 0), 1),
        Trial("nested: rbf 1024, the better gamma of 1.5 and 3.0", v, nested(best(*widths), 0), 1),
        *(Trial(name, v, one(spec), 1) for name, spec in slow.items()),
    ]


def read(folder: Path, names: Sequence[str]) -> Images:
    """Load the features, and find digests and near-duplicates as in a cache."""
    _, labels, views = load(folder / "features.py", names)
    features = np.stack([views[name] for name in names], axis=1)
    first = features[:, 0]
    digests = [np.frombuffer(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), np.uint8) for row in features]
    found, other, _ = find_pairs(np.array(digests), first)
    keys = group_keys(np.array(digests), connected_groups(len(labels), found, other))
    return Images(features, labels, np.array(digests), keys)


def main() -> None:
    """Evaluate the selected ideas, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with features.py")
    parser.add_argument("views", nargs="*", default=["224", "224m"], help="such as 224 224m")
    parser.add_argument("--seeds", type=int, default=5, help="largest number of fold seeds for an idea")
    parser.add_argument("--only", default="", help="parts of the names of ideas, separated by commas")
    given = parser.parse_args()

    images = read(given.folder, given.views)
    bench = Bench(images)
    splits = [Split(draw_folds(images.keys, images.labels, seed=seed)) for seed in range(given.seeds)]
    print("| idea | views | seeds | log loss | vs plain | spread | vs rbf 512 | CPU s |")
    print("|---" * 8 + "|")
    for trial in trials(len(given.views)):
        if any(part in trial.name for part in given.only.split(",")):
            _report(trial, bench, splits[: trial.seeds])


def _report(trial: Trial, bench: Bench, splits: Sequence[Split]) -> None:
    losses, seconds = [], []
    for split in splits:
        bench.requested.clear()
        losses.append(losses_of(bench.images.labels, trial.idea(bench, split)))
        seconds.append(sum(bench.requested.values()))
    of_plain, of_usual = (
        np.array(losses) - [losses_of(bench.images.labels, bench.margins(spec, split)) for split in splits]
        for spec in (PLAIN, Rbf(trial.views))
    )
    spread = f"{of_plain.mean(axis=1).std(ddof=1):.5f}" if len(splits) > 1 else ""
    figures = f"{_figure(np.array(losses))} | {_figure(of_plain)} | {spread} | {_figure(of_usual)} | {seconds[0]:.1f}"
    print(f"| {trial.name} | {trial.views} | {len(splits)} | {figures} |", flush=True)


def _figure(losses: Margins) -> str:
    of_images = losses.mean(axis=0)
    return f"{of_images.mean():.5f} ± {of_images.std(ddof=1) / np.sqrt(len(of_images)):.5f}"


if __name__ == "__main__":
    main()
