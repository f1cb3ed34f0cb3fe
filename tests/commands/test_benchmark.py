"""What `benchmark` measures, for each engine and precision that the machine has."""

from dataclasses import asdict
from importlib.util import find_spec

import pytest

import catsdogs
from catsdogs import Benchmark, CatsDogsError
from catsdogs.backbone.hardware import cpu_supports
from catsdogs.cli.console import show
from catsdogs.cli.listings import benchmark_lines
from catsdogs.commands.benchmark import Rates
from catsdogs.commands.plan import Plan, Projection


@pytest.fixture
def photographs(tmp_path, draw, encode, write_folder):
    images = {f"{number}.jpg": encode(draw(number, (90, 60)), "JPEG") for number in range(130)}
    return write_folder(tmp_path / "photographs", images | {"bad.jpg": b"this is no image"})


@pytest.mark.slow
def test_each_engine_is_measured_in_every_precision_that_is_native_to_it(photographs, keras_backbone):
    done = catsdogs.benchmark(photographs, weights=str(keras_backbone), images=131)
    assert done.images == 130  # the bad one is none
    precisions = ["bfloat16", "float32"] if cpu_supports("bfloat16") else ["float32"]
    wanted = [(engine, precision) for engine in ("tensorflow", "openvino") for precision in precisions]
    wanted += [("openvino", "int8")] if find_spec("nncf") else []
    assert [(rates.engine, rates.precision) for rates in done.engines] == wanted
    assert min(done.read, done.decode, done.write, done.recipe) > 0
    for rates in done.engines:
        assert min(rates.compute, rates.end_to_end) > 0
        assert rates.waited.keys() == {"decode", "compute", "write"}
        assert all(0 <= share <= 1 for share in rates.waited.values())
    assert asdict(done)["engines"][0]["engine"] == "tensorflow"
    said = [text for _, text in benchmark_lines(done)]
    assert sum("openvino" in line and "waited" not in line for line in said) == len(wanted) - len(precisions)


def test_the_tables_have_80_columns_whatever_is_measured(capsys):
    waited = {"decode": 1.0, "compute": 0.0, "write": 0.97}
    rates = [
        Rates("tensorflow", "bfloat16", "cpu", 99999.9, 99999.9, waited),
        Rates("jax", "int8", "cpu", 9.0, None, {}),
    ]
    projections = [Projection(1000, 999_999.9, 0.1, "computing"), Projection(1, 0.1, 1e13, "computing")]
    planned = Plan(10**12, "tensorflow", "bfloat16", 1e18, 1e16, projections)
    processor = "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, the second of its kind"
    show(benchmark_lines(Benchmark(300, "imagenet", processor, 256, 1e6, 1e6, 1e6, 123.0, rates, planned)))
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert max(map(len, lines)) <= 80
    table = lines[next(at for at, line in enumerate(lines) if "engine" in line) :][:3]
    assert [line.split() for line in table] == [
        ["engine", "precision", "compute", "end", "to", "end", "recipe", "decode", "compute", "write"],
        ["tensorflow", "bfloat16", "99,999.9", "99,999.9", "813.01", "100%", "0%", "97%"],
        ["jax", "int8", "9.0", "-", "-"],
    ]


@pytest.mark.parametrize(("images", "message"), [(0, "the number of images is 0"), (1, "no image in .* is readable")])
def test_what_cannot_be_measured_is_refused_in_one_line(images, message, tmp_path, write_folder, tiny_backbone):
    data = write_folder(tmp_path / "data", {"bad.jpg": b"this is no image"})
    with pytest.raises(CatsDogsError, match=message):
        catsdogs.benchmark(data, weights=str(tiny_backbone), images=images)
