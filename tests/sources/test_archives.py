import io
import struct
import zipfile
import zlib

import pytest
from support.sources import failure, read_all

from catsdogs.sources import Source

DOS, UNIX = 0, 3


def renamed(files, names, system=UNIX):
    """Return a zip whose names are the given bytes, without the mark of UTF-8."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number, (raw, data) in enumerate(zip(names, files, strict=True)):
            member = zipfile.ZipInfo(f"{number:_<{len(raw)}}")
            member.create_system = system
            archive.writestr(member, data)
    changed = content.getvalue()
    for number, raw in enumerate(names):
        changed = changed.replace(f"{number:_<{len(raw)}}".encode(), raw)
    return changed


def test_names_that_are_no_utf8_are_those_of_dos(tmp_path):
    names = [f"{kind}/{n}.jpg".encode("cp437") for kind in ("Kätzchen", "Hündchen") for n in range(3)]
    (tmp_path / "a.zip").write_bytes(renamed([b"%d" % n for n in range(6)], names, DOS))
    with Source(tmp_path / "a.zip", classes=("Kätzchen", "Hündchen")) as source:
        assert source.splits["train"].labels.tolist() == [1, 1, 1, 0, 0, 0]


def with_unicode_paths(names, *, of=None):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number, name in enumerate(names):
            member = zipfile.ZipInfo(f"???/{number % 2}.jpg")
            crc = zlib.crc32((of or member.filename).encode())
            data = struct.pack("<BI", 1, crc) + name.encode()
            member.extra = struct.pack("<HH", 0x9999, 2) + b"zz" + struct.pack("<HH", 0x7075, len(data)) + data
            archive.writestr(member, name)
    return content.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_the_unicode_path_field_counts_if_it_is_of_the_present_name(tmp_path):
    names = ["猫/0.jpg", "猫/1.jpg", "犬/0.jpg", "犬/1.jpg"]
    (tmp_path / "a.zip").write_bytes(with_unicode_paths(names))
    with Source(tmp_path / "a.zip") as source:
        assert set(source.splits["train"].ids) == {"猫.0", "猫.1", "犬.0", "犬.1"}
    (tmp_path / "b.zip").write_bytes(with_unicode_paths(names, of="an earlier name"))
    assert set(read_all(tmp_path / "b.zip").values()) == {name.encode() for name in names}  # in one folder, ???


@pytest.mark.parametrize(
    ("system", "other", "ids"),
    [
        (DOS, None, ["cat.1", "dog.1"]),
        (UNIX, None, [r"cat\1", r"dog\1"]),
        (DOS, "train/cat.2.jpg", [r"cat\1", "cat.2", r"dog\1"]),
    ],
)
def test_a_backslash_separates_only_where_a_dos_writer_wrote_no_slash(tmp_path, system, other, ids):
    names = [b"cat\\1.jpg", b"dog\\1.jpg", *([other.encode()] if other else [])]
    (tmp_path / "a.zip").write_bytes(renamed([b"1", b"2", b"3"][: len(names)], names, system))
    found = [file.parts for file in files_of(tmp_path / "a.zip")]
    assert [len(parts) for parts in found] == [len(name.split("/")) for name in sorted(ids)] or other or found
    expected = [tuple(name.decode().replace("\\", "/").split("/")) for name in names]
    literal = [tuple(name.decode().split("/")) for name in names]
    assert found == (expected if system == DOS and not other else literal)


def files_of(path):
    from contextlib import ExitStack

    from catsdogs.sources import image_file, walk_archive

    with ExitStack() as open_archives:
        return list(walk_archive(image_file(path, (path.name,)), open_archives))


@pytest.mark.parametrize(("before", "behind"), [(b"", b"\n"), (b"\n", b""), (b"x", b"x")])
def test_one_byte_too_many_changes_nothing(tmp_path, zipped, before, behind):
    files = {f"test/{n}.jpg": b"%d" % n for n in range(4)}
    (tmp_path / "a.zip").write_bytes(before + zipped(files) + behind)
    assert read_all(tmp_path / "a.zip") == {str(n): b"%d" % n for n in range(4)}


def with_method(content, method, only=None):
    """Return a zip whose members say that they are compressed with another method."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.find(signature)
        while at >= 0:
            if only is None or only in content[at : at + 60]:
                struct.pack_into("<H", changed, at + offset, method)
            at = content.find(signature, at + 1)
    return bytes(changed)


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (98, "PPMd"), (77, "method 77")])
def test_a_method_of_compression_that_is_not_supported_is_named(tmp_path, zipped, method, name):
    content = zipped({"test/1.jpg": b"a", "test/2.jpg": b"b"})
    (tmp_path / "a.zip").write_bytes(with_method(content, method))
    assert failure(tmp_path / "a.zip").endswith(
        f"is compressed with {name}, which is not supported. Unpack it, and give the folder."
    )
    (tmp_path / "a.zip").write_bytes(with_method(content, method, only=b"2.jpg"))
    found = read_all(tmp_path / "a.zip")
    assert found == {"1": b"a", "2": f"it is compressed with {name}, which is not supported: unpack the zip"}
    inner = zipped({"train.zip": content})
    (tmp_path / "a.zip").write_bytes(with_method(inner, method, only=b"train.zip"))
    assert f"train.zip within the zip is compressed with {name}" in failure(tmp_path / "a.zip")


def test_the_last_part_of_a_split_zip_is_named(tmp_path, zipped):
    content = bytearray(zipped({"test/1.jpg": b"a"}))
    struct.pack_into("<HH", content, content.index(b"PK\5\6") + 4, 2, 2)
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip is one part of a split zip. Join the parts" in failure(tmp_path / "a.zip")


GIB = 1 << 30


def write_as_macos(path, positions, *, lost=False, last_length=0):
    """Write a zip of stored images at these positions, all of which it gives modulo 4 GiB; the rest is a hole.

    The last image may have more bytes, also given modulo 4 GiB.
    """
    directory = b""
    with path.open("wb") as file:
        for number, position in enumerate(positions):
            name, data = f"test/{number}.jpg".encode(), b"image %d" % number
            common = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
            file.seek(position)
            file.write(b"PK\3\4" + common + name + data)
            offset = (position + (7 if lost and number == 2 else 0)) % (4 * GIB)
            directory += b"PK\1\2" + b"\x15\3" + common + struct.pack("<HHHII", 0, 0, 0, 0, offset) + name
        start = file.seek(last_length, 1)
        file.write(directory)
        count = len(positions)
        file.write(b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), start % (4 * GIB), 0))


POSITIONS = (0, GIB, 3 * GIB, 4 * GIB + 100, 5 * GIB, 8 * GIB + 3, 9 * GIB)


def test_a_zip_of_macos_over_4_gib_has_all_its_images(tmp_path):
    write_as_macos(tmp_path / "a.zip", POSITIONS)
    assert read_all(tmp_path / "a.zip") == {str(n): b"image %d" % n for n in range(len(POSITIONS))}


@pytest.mark.parametrize("options", [{"lost": True}, {"last_length": 4 * GIB + 5}], ids=str)
def test_a_zip_of_macos_over_4_gib_whose_images_are_not_found_says_why(tmp_path, options):
    write_as_macos(tmp_path / "a.zip", POSITIONS, **options)
    line = failure(tmp_path / "a.zip")
    assert "has more than 4 GiB without ZIP64, as macOS writes it" in line
    assert "ditto -x -k" in line
