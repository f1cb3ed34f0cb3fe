"""Uses of the public API that mypy --strict checks. Nothing here is ever run."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import catsdogs


def report_progress(step: str, done: int, total: int) -> None: ...


def check_scan(folder: Path) -> None:
    found = catsdogs.scan("data.zip", artifacts=folder, classes="ants,bees")
    assert_type(found, catsdogs.Scan)
    assert_type(found.images, dict[str, dict[str, int]])
    assert_type(found.training_problem, str | None)
    assert_type([each.reason for each in found.skipped], list[str])


def check_steps(folder: Path) -> None:
    options = catsdogs.ComputeOptions(views=["224", "224m"], engine="openvino", precision="bfloat16")
    extraction = catsdogs.extract(
        "data.zip", artifacts=folder, weights="random:1", compute=options, classes="ants,bees", progress=report_progress
    )
    assert_type(extraction, catsdogs.Extraction)
    assert_type(extraction.unreadable, dict[str, dict[str, str]])
    assert_type(extraction.rate, float | None)

    training = catsdogs.train(folder, exclude="suspects.csv", holdout=0.15, studies=["nested", "learning_curve"])
    assert_type(training, catsdogs.Training)
    assert_type(training.metrics, catsdogs.TrainingMetrics)

    correction = catsdogs.correct({"cat.1": "dog"}, undo=["cat.2"], artifacts=folder)
    assert_type(catsdogs.correct("verdicts.csv"), catsdogs.Correction)
    assert_type([correction.relabelled, correction.undone], list[int])

    submission = catsdogs.submit(folder, clip=0.01)
    assert_type(submission.path, Path)
    assert_type(submission.classes, tuple[str, str])

    done = catsdogs.run("data", artifacts=folder, prune=True, fail_fast=True, near_duplicates=False)
    assert_type(done, catsdogs.Run)
    assert_type(done.metrics, catsdogs.TrainingMetrics | None)
    assert_type(done.submission, catsdogs.Submission | None)


def check_metrics(metrics: catsdogs.TrainingMetrics) -> list[float]:
    assert_type(metrics.log_loss, float)
    assert_type(metrics.auc, float | None)
    low, high = metrics.intervals.log_loss
    assert_type(metrics.clip.chosen, float)
    assert_type([scores.accuracy for scores in metrics.folds], list[float])
    assert_type({name: [point.C for point in path] for name, path in metrics.paths.items()}, dict[str, list[float]])
    if metrics.holdout:
        assert_type(metrics.holdout.fraction, float)
    if metrics.nested:
        assert_type(metrics.nested.clipped, float)
    if metrics.test:
        assert_type(metrics.test.images, int)
    if metrics.corrections:
        assert_type(metrics.corrections.interval, tuple[float, float] | None)
    scores: catsdogs.Metrics = metrics
    return [low, high, scores.brier, *(point.log_loss for point in metrics.learning_curve)]


def check_predictions(images: Sequence[Path]) -> list[tuple[str, float]]:
    predictions = catsdogs.predict(images, artifacts="artifacts", previews=3)
    assert_type(predictions, list[catsdogs.Prediction])
    with catsdogs.Predictor("artifacts", weights=Path("weights.h5")) as predictor:
        assert_type(
            predictor.predict([b"", np.zeros((2, 2, 3), np.uint8), Image.new("L", (2, 2))]), list[catsdogs.Prediction]
        )
    with open("cat.jpg", "rb") as file:  # noqa: PTH123
        (prediction,) = catsdogs.predict(file)
    assert_type(prediction.label, str | None)
    assert_type(prediction.preview, NDArray[np.uint8] | None)
    assert_type(catsdogs.predict_to_parquet("images/", Path("scores"), ray="local").scored, int)
    return [(each.image, each.probability) for each in predictions if each.probability is not None]


def check_other_results() -> None:
    assert_type(catsdogs.evaluate("labelled/").scores, catsdogs.Metrics)
    assert_type(catsdogs.report("artifacts").path, Path)
    review = catsdogs.review("artifacts")
    assert_type(review.path, Path)
    assert_type([image.probability for image in review.queue], list[float])
    assert_type([near.similarity for near in review.queue[0].neighbours], list[float])
    found = catsdogs.similar("cat.jpg", artifacts="artifacts", count=5, html=Path("similar.html"), previews=5)
    assert_type(found, list[catsdogs.SimilarImage])
    assert_type(found[0].label, str | None)
    assert_type(catsdogs.export("onnx", out="network.onnx").inputs, dict[str, tuple[int, ...]])
    assert_type(catsdogs.info().metrics, catsdogs.TrainingMetrics | None)
    assert_type(catsdogs.verify().problems, tuple[str, ...])
    assert_type(catsdogs.prepare("data", "out", seed=1).images, dict[str, int])
    assert_type(catsdogs.demo(weights="random").run, catsdogs.Run)
    assert_type(catsdogs.benchmark("data", images=100).recipe, float | None)
    assert_type(catsdogs.notebook("folder"), Path)


def check_features(features: NDArray[np.float32]) -> None:
    catsdogs.import_features(["cat.1", "dog.1"], [0, 1], views={"224": features}, artifacts="mine", split="train")
    with catsdogs.lock("mine", progress=report_progress):
        loaded = catsdogs.load_features("mine", split="train")
    assert_type(loaded, catsdogs.Features)
    assert_type(loaded.features, NDArray[np.float32])


def check_errors() -> str:
    try:
        catsdogs.submit(clip=0.9)
    except catsdogs.OptionError as error:
        return error.hint
    except catsdogs.CatsDogsError as error:
        return error.message
    return ""


def check_misuse() -> None:
    """An ignored error that is none is an error: each of these must be one."""
    catsdogs.train("artifacts", "suspects.csv")  # type: ignore[call-arg]
    catsdogs.ComputeOptions(engine="abacus")  # type: ignore[arg-type]
    catsdogs.train().metrics["log_loss"]  # type: ignore[index]
    _ = catsdogs.train().metrics.log_losses  # type: ignore[attr-defined]
