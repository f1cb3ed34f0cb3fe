"""Settings of Keras and TensorFlow that would change features are named; threads and forks work or are refused."""

import subprocess
import sys

import pytest
from support.program import process


def said(code, **environment):
    done = process(code, program=("-c", "import sys; exec(sys.argv[1])"), **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


TRIED = """
from catsdogs.backbone.frameworks import keras
from catsdogs.errors import CatsDogsError
keras = keras()
import tensorflow as tf
from catsdogs.backbone import frameworks
def tried():
    try:
        frameworks.keras()
        print("taken")
    except CatsDogsError as error:
        print(error)
tried()
for change, back in (
    (lambda: keras.config.set_dtype_policy("mixed_float16"), lambda: keras.config.set_dtype_policy("float32")),
    (lambda: keras.config.set_floatx("float64"), lambda: keras.config.set_floatx("float32")),
    (
        lambda: keras.config.set_image_data_format("channels_first"),
        lambda: keras.config.set_image_data_format("channels_last"),
    ),
    (lambda: tf.config.run_functions_eagerly(True), lambda: tf.config.run_functions_eagerly(False)),
    (tf.compat.v1.disable_eager_execution, lambda: None),
):
    change()
    tried()
    back()
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["", None])
def test_a_setting_after_the_first_use_is_named(backend):
    """Without KERAS_BACKEND, or with an empty one, the backend is TensorFlow."""
    assert said(TRIED, **({} if backend is None else {"KERAS_BACKEND": backend})).splitlines() == [
        "taken",
        "Keras is set to mixed_float16. Set floatx and the dtype policy to float32.",
        "Keras is set to float64. Set floatx and the dtype policy to float32.",
        "Keras is set to channels_first. Set image_data_format to channels_last.",
        "TensorFlow runs functions eagerly. Call tf.config.run_functions_eagerly(False).",
        "TensorFlow's eager execution is disabled. Do not call disable_eager_execution.",
    ]


def test_threads_that_block_the_telemetry_at_once_do_not_disturb_each_other():
    from concurrent.futures import ThreadPoolExecutor

    from catsdogs.backbone.frameworks import without_telemetry

    def block(_):
        with without_telemetry():
            return sys.modules["openvino_telemetry"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(block, range(500))) == [None] * 500
    assert "openvino_telemetry" not in sys.modules


FORKED = """
import os
from catsdogs.backbone import frameworks
from catsdogs.errors import CatsDogsError
def child():
    if not os.fork():
        try:
            frameworks.raise_if_forked()
            print("taken", flush=True)
        except CatsDogsError as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
child()
frameworks._used_by.append(os.getpid())
frameworks.raise_if_forked()
child()
"""


def test_a_fork_after_the_first_use_is_refused_and_one_before_is_not():
    first, second = said(FORKED).splitlines()
    assert first == "taken"
    assert second == (
        "this process was forked from one that had used a backbone, whose threads a fork does not copy. "
        'Start processes by multiprocessing.get_context("spawn"), or before the first call.'
    )


POOL = """
import multiprocessing
import sys
import numpy as np
from pathlib import Path
from catsdogs.backbone import Backbone
from catsdogs.backbone.weights import Weights
from catsdogs.errors import CatsDogsError

backbone = Backbone(Weights(sys.argv[1]), (64,))

def features(_):
    try:
        return backbone.features(np.zeros((1, 64, 64, 3), np.uint8)).shape
    except CatsDogsError as error:
        return str(error)[:23]

features(0)
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(features, [0]).get(timeout=600))
"""


@pytest.mark.slow
def test_a_pool_that_is_forked_after_the_first_use_gets_an_answer(keras_backbone):
    done = subprocess.run([sys.executable, "-c", POOL, keras_backbone], capture_output=True, text=True, check=True)
    assert done.stdout == "['this process was forked']\n"
