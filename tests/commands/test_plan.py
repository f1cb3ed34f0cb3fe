"""What `bench --plan` projects from measured rates."""

from datetime import timedelta

import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.cli.listings import benchmark_lines
from catsdogs.commands import benchmark, plan

RATES = {"worker": 30.0, "computing": 40.0, "decoding": 200.0, "reading": 500.0, "merging": 20_000.0}


def projected(images=1_000_000, *, loading=10.0, is_remote=False, **rates):
    return plan.project(images, RATES | rates, loading=loading, is_remote=is_remote)


def test_workers_share_the_images_and_one_machine_merges():
    one, ten, hundred, thousand = projected()
    assert one.rate == 30
    assert one.seconds == pytest.approx(1_000_000 / 30 + 10 + 50)
    assert ten.seconds == pytest.approx(1_000_000 / 300 + 10 + 50)
    assert [of.limit for of in (one, ten, hundred, thousand)] == ["computing"] * 3 + ["merging"]
    assert thousand.workers == 1000


def test_the_slowest_stage_is_named():
    assert projected(decoding=35.0)[0].limit == "decoding"
    assert projected(reading=20.0)[0].limit == "reading"
    assert projected(reading=20.0)[0].rate == 20
    assert projected(images=100)[0].limit == "loading"


def test_object_storage_limits_the_requests_of_all_workers():
    *_, hundred, thousand = projected(is_remote=True, merging=1e9)
    assert (hundred.rate, hundred.limit) == (3000, "computing")
    assert (thousand.rate, thousand.limit) == (5500, "requests")


def test_bench_plans_with_the_rates_that_it_measures(tmp_path, draw, encode, write_folder, tiny_backbone, monkeypatch):
    monkeypatch.setattr(benchmark, "_engines", lambda: [("auto", "auto")])
    monkeypatch.setattr(benchmark, "keras_recipe", lambda *_: None)
    images = {f"{number}.png": encode(draw(number)) for number in range(60)}
    data = write_folder(tmp_path / "data", images)
    done = catsdogs.benchmark(data, weights=str(tiny_backbone), images=60, plan=1_000_000)
    assert done.plan.read_bytes == pytest.approx(1_000_000 * np.mean([len(of) for of in images.values()]))
    assert 8192 * 1e6 < done.plan.stored_bytes < 9000 * 1e6
    assert [of.workers for of in done.plan.projections] == [1, 10, 100, 1000]
    assert sorted((of.seconds for of in done.plan.projections), reverse=True) == [
        of.seconds for of in done.plan.projections
    ]
    lines = [text for _, text in benchmark_lines(done)]
    assert any(line.startswith("1,000,000 images with numpy in float32") for line in lines)
    assert catsdogs.benchmark(data, weights=str(tiny_backbone), images=60).plan is None
    for number in (0, 10**12 + 1):
        with pytest.raises(CatsDogsError, match=f"the number of images is {number}. Give --plan a number from 1 to"):
            catsdogs.benchmark(data, plan=number)


def test_the_most_images_that_may_be_planned_have_a_time():
    assert timedelta(seconds=projected(plan.MAX_IMAGES, computing=0.1, worker=0.1)[0].seconds).days > 10**8
