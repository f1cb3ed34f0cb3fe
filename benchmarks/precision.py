"""Compare the features and the log loss of each engine and precision with TensorFlow in float32.

    python benchmarks/precision.py ../shared/data/kaggle/train random
    python benchmarks/precision.py ../shared/data/kaggle/train ../shared/weights/standin.keras

Input: labelled images and weights. Prints a row for each engine in its default precision: the minimum and the mean
cosine similarity of the features to those of TensorFlow in float32, the out-of-fold log loss of a head trained on them,
and the rate.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import catsdogs
from catsdogs import ComputeOptions


def main() -> None:
    """Extract and train with each engine and precision, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder or a zip of labelled images")
    parser.add_argument("weights", help="as for catsdogs run")
    parser.add_argument("--also", default="", help="more ENGINE:PRECISION pairs, separated by commas")
    given = parser.parse_args()

    wanted = ["tensorflow:float32", "tensorflow:auto", "openvino:auto", *filter(None, given.also.split(","))]
    expected = None
    print(f"{'engine':<12}{'precision':<10}{'min cosine':>13}{'mean cosine':>13}{'log loss':>10}{'images/s':>10}")
    for engine, precision in (pair.split(":") for pair in wanted):
        with tempfile.TemporaryDirectory() as folder:
            how = ComputeOptions(engine=engine, precision=precision)
            done = catsdogs.extract(given.data, artifacts=folder, weights=given.weights, compute=how)
            features = catsdogs.load_features(folder).features.astype(np.float64)
            loss = catsdogs.train(folder).metrics.log_loss
        expected = features if expected is None else expected
        norms = np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
        cosines = np.sum(features * expected, axis=1) / norms
        figures = f"{cosines.min():>13.6f}{cosines.mean():>13.6f}{loss:>10.5f}{done.rate or 0:>10.1f}"
        print(f"{engine:<12}{done.precision:<10}{figures}", flush=True)


if __name__ == "__main__":
    main()
