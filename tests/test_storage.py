import csv
import io
import json
import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import SIGNS, assert_no_formula

from catsdogs.errors import CatsDogsError
from catsdogs.storage import (
    NOTE_HINT,
    read_json,
    read_table,
    record,
    record_timing,
    to_cell,
    to_csv,
    to_json,
    to_sealed_json,
    unseal,
    write_atomic,
)


def test_a_file_is_replaced_at_once_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_atomic(path, b"old")
    with path.open("rb") as before:
        write_atomic(path, b"new")
        assert before.read() == b"old"  # another file took its place: this one was not written over
    assert path.read_bytes() == b"new"
    assert [file.name for file in path.parent.iterdir()] == ["b.json"]


def test_the_old_file_stays_if_the_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "b.json"
    write_atomic(path, b"old")
    (tmp_path / "b.json.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_json_is_indented_and_keeps_its_order():
    assert to_json({"b": "Füße", "a": [1]}) == '{\n  "b": "Füße",\n  "a": [\n    1\n  ]\n}\n'.encode()


def test_nan_and_infinities_are_null_in_every_json_file(tmp_path):
    numbers = {"a": [math.inf, {"b": (-math.inf, np.float64("nan"), 1.5)}], "c": np.float64(2)}
    read = {"a": [None, {"b": [None, None, 1.5]}], "c": 2}
    assert strict(to_json(numbers)) == read
    sealed = strict(to_sealed_json(numbers))
    assert unseal(sealed)
    assert sealed == read
    record(tmp_path / "notes.json", **numbers)
    assert strict((tmp_path / "notes.json").read_bytes()) == read


def strict(content):
    """Read JSON like a program that does not accept NaN."""
    return json.loads(content, parse_constant=pytest.fail)


NAMES = st.text(st.characters(codec=None))  # with the surrogates that stand for bytes that are no UTF-8


@given(st.dictionaries(NAMES, NAMES))
def test_any_file_name_is_read_back_from_json(value):
    content = to_json(value)
    content.decode("utf-8")
    assert json.loads(content) == value


TRICKY = st.text(st.sampled_from(SIGNS + ";,\"' \t\n\u3000\u200d|15.ax")) | st.text()


@given(st.lists(st.tuples(TRICKY, st.integers()), min_size=1))
def test_a_table_is_read_back_as_its_cells(rows):
    table = list(csv.reader(io.StringIO(to_csv(("id", "label"), rows).decode(), newline="")))
    assert table == [["id", "label"], *([to_cell(name), str(number)] for name, number in rows)]


@given(TRICKY)
def test_a_cell_that_is_written_again_does_not_change(text):
    assert to_cell(to_cell(text)) == to_cell(text)


@given(st.lists(TRICKY, min_size=1, max_size=3), st.sampled_from(",;"))
def test_no_cell_is_a_formula_whatever_the_separator(texts, separator):
    assert_no_formula(to_csv(("id", "reason"), [["1.jpg", *texts], texts]).decode(), separator)


@pytest.mark.parametrize("text", ["-5", "+1", "-0.5", "-", "=", "a=1", "cat.-1", "1-2", "a,-b", "a:@b", "2+2; or 4"])
def test_numbers_and_signs_within_a_text_are_not_escaped(text):
    assert to_cell(text) == text


def test_csv_has_the_format_of_kaggle():
    assert to_csv(("id", "label"), [(1, 0.5), (2, 0.005)]) == b"id,label\n1,0.5\n2,0.005\n"


def test_a_missing_json_file_is_an_empty_object(tmp_path):
    assert read_json(tmp_path / "none.json", NOTE_HINT) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b"\xff\xfe\xfa", b"[" * 100_000])
def test_the_error_of_invalid_json_has_the_path_and_the_hint(tmp_path, content):
    path = tmp_path / "timings.json"
    path.write_bytes(content)
    with pytest.raises(CatsDogsError, match=r"timings\.json is damaged: it is not .*JSON.*Delete this file"):
        read_json(path, NOTE_HINT)


def test_the_error_of_unreadable_json_has_the_path_and_the_hint(tmp_path):
    (tmp_path / "timings.json").mkdir()
    with pytest.raises(CatsDogsError, match=r"timings\.json cannot be read .*Delete this file"):
        read_json(tmp_path / "timings.json", NOTE_HINT)


def test_recording_an_entry_keeps_the_other_entries(tmp_path):
    record(tmp_path / "source.json", train="a", weights="b")
    record(tmp_path / "source.json", test="c", weights="d")
    assert read_json(tmp_path / "source.json", NOTE_HINT) == {"train": "a", "weights": "d", "test": "c"}


def test_a_timing_has_the_name_of_the_host(tmp_path):
    record_timing(tmp_path / "timings.json", "train", images=3, seconds=0.5)
    record_timing(tmp_path / "timings.json", "submit", images=2, seconds=0.25)
    timings = read_json(tmp_path / "timings.json", NOTE_HINT)
    assert list(timings) == ["train", "submit"]
    assert timings["train"] == {"images": 3, "seconds": 0.5} | {
        name: timings["submit"][name] for name in ("host", "cores")
    }
    assert timings["train"]["cores"] == os.cpu_count()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep={}", '"SEP={}"'])
def test_a_table_is_read_as_any_spreadsheet_writes_it(tmp_path, separator, encoding, end, first):
    rows = [("id", "label"), ('"a,b;c"', "é"), ("", ""), ("d", "")]
    path, lines = tmp_path / "a.csv", [first.format(separator)] if first else []
    path.write_bytes(end.join([*lines, *map(separator.join, rows)]).encode(encoding))
    assert read_table(path, ("id", "label"), "") == [{"id": "a,b;c", "label": "é"}, {"id": "d", "label": ""}]
