import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catsdogs.errors import CatsDogsError
from catsdogs.sources.classes import CLASSES
from catsdogs.sources.ids import MAX_NAME, assign_ids
from catsdogs.sources.layout import read_layout
from catsdogs.sources.names import SUFFIXES, folders_with_parents


def laid_out(*paths, **options):
    return read_layout([tuple(path.split("/")) for path in paths], "the source", **options)


def placed(*paths, **options):
    """Return {path: (split, id, label)} and the number of skipped files."""
    layout = laid_out(*paths, **options)
    images = assign_ids(layout.images, [tuple(path.split("/")) for path in paths])
    return {paths[p.position]: (p.split, p.id, p.label) for p in images}, len(layout.skipped)


@pytest.mark.parametrize(
    ("path", "split", "id_", "label"),
    [
        ("train/cat.17.jpg", "train", "cat.17", 0),
        ("train/train/dog.3.jpg", "train", "dog.3", 1),
        ("dogs-vs-cats/TRAIN/dog.3.JPG", "train", "dog.3", 1),
        ("test/17.jpg", "test", "17", -1),
        ("test1/17.jpg", "test", "17", -1),
        ("test/unknown/17.jpg", "test", "17", -1),
        ("cat.17.jpg", "train", "cat.17", 0),
        ("dog.3.jpg", "train", "dog.3", 1),
        ("cat/17.jpg", "train", "cat.17", 0),
        ("dogs/3.jpg", "train", "dog.3", 1),
        ("PetImages/Dog/3.jpg", "train", "dog.3", 1),
        ("cat/cat.17.jpg", "train", "cat.17", 0),
        ("train/dogs/dog.3.jpg", "train", "dog.3", 1),
        ("cats-dogs-training/cat/17.png", "train", "cat.17", 0),
        ("cats-dogs-testing/dog/3.png", "test", "dog.3", 1),
        ("test/dogs/dog.3.jpg", "test", "dog.3", 1),
        ("data/train/cat.jpg", "train", "cat", 0),
        ("holiday.in.rome.jpg", "test", "holiday.in.rome", -1),
        ("pictures/17.jpg", "test", "17", -1),
    ],
)
def test_split_id_and_label_are_read_from_the_path(path, split, id_, label):
    assert placed(path) == ({path: (split, id_, label)}, 0)


def test_ids_are_the_same_in_all_layouts():
    forms = [
        [f"train/{kind}.{number}.jpg" for kind in CLASSES for number in range(3)],
        [f"{kind}.{number}.jpg" for kind in CLASSES for number in range(3)],
        [f"{kind}/{number}.jpg" for kind in CLASSES for number in range(3)],
        [f"{kind.title()}s/{number}.jpg" for kind in CLASSES for number in range(3)],
        [f"cats-dogs-training/{kind}/{kind}.{number}.png" for kind in CLASSES for number in range(3)],
    ]
    results = [sorted(placed(*paths)[0].values()) for paths in forms]
    assert all(result == results[0] for result in results)
    assert results[0][0] == ("train", "cat.0", 0)


@pytest.mark.parametrize("suffix", [*SUFFIXES, *map(str.upper, SUFFIXES), ".Jpg"])
def test_all_image_suffixes_are_accepted_in_any_case(suffix):
    assert placed(f"cat.1{suffix}") == ({f"cat.1{suffix}": ("train", "cat.1", 0)}, 0)


@pytest.mark.parametrize(
    "path",
    [
        "__MACOSX/train/._cat.1.jpg",
        "__MACOSX/cat.2.jpg",
        "cat/Thumbs.db",
        ".DS_Store",
        ".cat.1.jpg",
        ".Trash/cat.1.jpg",
        "../cat.1.jpg",
        "sample_submission.csv",
        "train.zip",
        "cat.1.jpg.txt",
        "jpg",
        "@eaDir/cat.1.jpg",
        "cats/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg",
        "#recycle/cat.1.jpg",
        "#snapshot/cat.1.jpg",
        "@Recycle/cat.1.jpg",
        "$RECYCLE.BIN/S-1-5-21/$R4.jpg",
        "lost+found/cat.1.jpg",
        "System Volume Information/cat.1.jpg",
        ".Trashes/501/cat.1.jpg",
        ".ipynb_checkpoints/cat.1.jpg",
        "cat/._1.jpg",
    ],
)
def test_hidden_files_and_files_that_are_not_images_are_skipped(path):
    found, skipped = placed(path, "cat.0.jpg", "dog.0.jpg")
    assert (sorted(found), skipped) == (["cat.0.jpg", "dog.0.jpg"], 1)


def test_what_is_in_too_many_folders_is_skipped_and_takes_no_memory():
    deep = "d/" * 100_000
    layout = laid_out("cat.1.jpg", "d/" * 100 + "dog.2.jpg", "d/" * 101 + "cat.3.jpg", f"{deep}cat.4.jpg")
    assert layout.skipped == dict.fromkeys((2, 3), "in more than 100 folders")
    assert folders_with_parents([("A", "b"), tuple(deep.split("/"))]) == {("a",), ("a", "b")}


def test_files_beside_train_and_test_are_skipped():
    found, skipped = placed("train/cat.1.jpg", "train/dog.1.jpg", "test/1.jpg", "cat.7.jpg", "docs/logo.png")
    assert (len(found), skipped) == (3, 2)


def test_class_folders_beside_a_test_folder_are_the_training_split():
    found, skipped = placed("cat/1.jpg", "dog/1.jpg", "test/1.jpg", "test/2.jpg")
    assert skipped == 0
    assert [found[path][0] for path in ("cat/1.jpg", "dog/1.jpg", "test/1.jpg")] == ["train", "train", "test"]


def test_images_without_labels_beside_a_test_folder_are_skipped():
    assert placed("logo.png", "test/1.jpg") == ({"test/1.jpg": ("test", "1", -1)}, 1)


def test_a_validation_folder_is_the_test_split_if_there_is_no_other():
    found, skipped = placed("train/cat.1.jpg", "train/dog.1.jpg", "validation/cats/1.jpg")
    assert (found["validation/cats/1.jpg"], skipped) == (("test", "cat.1", 0), 0)
    found, skipped = placed("train/cat.1.jpg", "train/dog.1.jpg", "valid/cats/1.jpg", "test1/1.jpg")
    assert ("valid/cats/1.jpg" in found, skipped) == (False, 1)
    found, _ = placed("valid/cat.1.jpg", "valid/dog.1.jpg", "test/1.jpg")
    assert found["valid/cat.1.jpg"] == ("train", "cat.1", 0)


def test_a_test_image_named_like_a_class_is_not_labelled():
    found, _ = placed("test/cat.jpg", "test/1.jpg")
    assert {label for _, _, label in found.values()} == {-1}


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["bird.1.jpg", "fish.2.jpg"], "bird.1.jpg, fish.2.jpg"),
        (["cat.1.jpg", "dog.1.jpg", "emu.1.jpg"], "1 of 3 images"),
        (["cat/1.jpg", "dog/1.jpg", "emu.jpg"], "emu.jpg"),
        (["train/cat.1.jpg", "train/17.jpg"], "train/17.jpg"),
        (["test/cat/1.jpg", "test/emu/1.jpg"], "test/emu/1.jpg"),
        (["a/cat.1.jpg", "a/1.jpg", "b/dog.1.jpg"], "a/1.jpg"),
        ([f"{folder}/{n}.jpg" for folder in ("Pet/Cat", "Pet/Dog", "docs") for n in (1, 2)], "docs/1.jpg, docs/2.jpg"),
        (["train/1.jpg", "train/2.jpg", "train/3.jpg", "train/4.jpg", "train/5.jpg"], "and 2 more"),
    ],
)
def test_images_of_neither_class_are_named(paths, named):
    with pytest.raises(CatsDogsError, match="labelled neither cat nor dog") as error:
        placed(*paths)
    assert named in error.value.message
    assert "cat/ and dog/" in error.value.hint


@pytest.mark.parametrize("paths", [[], ["notes.txt"], ["__MACOSX/._cat.0.jpg", ".cat.1.jpg"]])
def test_a_source_without_images_is_an_error(paths):
    with pytest.raises(CatsDogsError, match="no images in the source") as error:
        placed(*paths)
    assert ".jpg" in error.value.hint


def id_of(name):
    found, _ = placed(f"{name}.jpg", f"test/{name}.jpg", "train/cat.1.jpg", "train/dog.1.jpg")
    return next(id_ for split, id_, _ in found.values() if split == "test")


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("\udcff\n\x1b[31m", r"\xff\x0a\x1b[31m"),
        ("می\u200cروم", "می\u200cروم"),
        ("山田\u3000太郎", "山田\u3000太郎"),
        ("-5", "-5"),
        ("-5 cats", r"\x2d5 cats"),
        ("=1+1", r"\x3d1+1"),
        ("\t@x", r"\x09@x"),
        ("\u3000\uff1dx", "\u3000\\xef\\xbc\\x9dx"),
    ],
)
def test_an_id_is_safe_in_any_table(name, id_):
    assert id_of(name) == id_


def test_a_name_that_looks_like_the_id_of_another_gets_a_number():
    found, _ = placed("=1.jpg", r"\x3d1.jpg")
    assert {path: id_ for path, (_, id_, _) in found.items()} == {"=1.jpg": r"\x3d1", r"\x3d1.jpg": r"\x3d1~2"}


def test_a_name_longer_than_the_limit_is_shortened():
    # Number after number is compared: beyond 4,300 digits Python's int refuses to.
    first, second = "1" * 5000 + ".jpg", "1" * 5001 + ".jpg"
    ids = {id_ for _, id_, _ in placed(first, second)[0].values()}
    assert {len(id_) for id_ in ids} == {MAX_NAME}
    assert len(ids) == 2


def test_folders_do_not_change_the_order():
    # To natural order the two numbers are equal.
    names = [("a/cat.2.jpg", "b/cat.02.jpg"), ("b/cat.2.jpg", "a/cat.02.jpg"), ("cat.2.jpg", "cat.02.jpg")]
    orders = [[id_ for _, id_, _ in placed(*pair)[0].values()] for pair in names]
    assert orders == [["cat.02", "cat.2"]] * 3


PATHS = [
    "/".join((*folders, name))
    for folders in itertools.chain([()], itertools.product(["train", "test", "cat", "Dogs", "val", ".x"]))
    for name in ("cat.1.jpg", "dog.2.png", "3.gif", "x.txt")
]


@given(
    st.lists(st.sampled_from(PATHS), unique=True, min_size=1).flatmap(
        lambda p: st.tuples(st.just(p), st.permutations(p))
    )
)
def test_the_order_of_the_walk_changes_nothing(orders):
    def outcome(paths):
        try:
            return placed(*paths)
        except CatsDogsError as error:
            return str(error)

    assert outcome(orders[0]) == outcome(orders[1])


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("dogs/train/cat.1.jpg", 0),
        ("dogs/train/cats/1.jpg", 0),
        ("dogs/train/1.jpg", 1),
        ("dogs/cats/1.jpg", 0),
        ("dogs/cat.1.jpg", 1),
    ],
)
def test_labels_come_from_inner_folders_then_names_then_outer_folders(path, label):
    found, _ = placed(path)
    assert [of for _, _, of in found.values()] == [label]


def classes_of(*paths, **options):
    return laid_out(*paths, **options).classes


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["bees/1.jpg", "ants/1.jpg"], ("ants", "bees")),
        (["class10/1.jpg", "class9/1.jpg"], ("class9", "class10")),
        (["bees/1.jpg", "Ants/1.jpg"], ("Ants", "bees")),
        (["train/bees/1.jpg", "train/ants/1.jpg", "test/1.jpg", "docs/1.jpg", "figures/1.jpg"], ("ants", "bees")),
        (["hymenoptera/training/ants/1.jpg", "hymenoptera/training/bees/1.jpg"], ("ants", "bees")),
        (["photos/ants/red/1.jpg", "photos/ants/black/2.jpg", "photos/bees/1.jpg"], ("ants", "bees")),
        (["ants/1.jpg", "bees/1.jpg", "test/wasps/1.jpg", "test/hornets/2.jpg", "test/3.jpg"], None),
        (["ants/1.jpg", "ANTS/2.jpg", "ant/3.jpg", "bees/1.jpg"], ("ANTS", "bees")),
        (["Cat/1.jpg", "Dog/1.jpg"], ("cat", "dog")),
        (["dogs/1.jpg", "cats/1.jpg"], ("cat", "dog")),
        (["a/cat.1.jpg", "b/dog.1.jpg"], ("cat", "dog")),
        (["cat/1.jpg", "emu/1.jpg"], ("cat", "emu")),
        (["ants/1.jpg", "ants/cat.jpg", "bees/1.jpg", "bees/2.jpg"], ("ants", "bees")),
        (["1.jpg", "2.jpg"], ("cat", "dog")),
        (["test/cat/1.jpg", "test/dog/1.jpg"], ("cat", "dog")),
        (["ants/train/1.jpg", "bees/train/2.jpg", "ants/val/3.jpg", "bees/val/4.jpg"], ("ants", "bees")),
        (["insects/ants/train/1.jpg", "insects/bees/train/2.jpg", "insects/test/3.jpg"], ("ants", "bees")),
        (["old/train/cat_1.jpg", "new/train/dog_2.jpg"], ("cat", "dog")),
        ([f"fold{n}/{name}/1.jpg" for n in "123" for name in ("ants", "bees")], ("ants", "bees")),
        (
            [f"patient{n}/{name}/1.jpg" for n in "123" for name in "01"] + [f"patient4/0/{n}.jpg" for n in "12"],
            ("0", "1"),
        ),
        (["warm/ants/1.jpg", "warm/bees/1.jpg", "cold/ants/1.jpg", "cold/bees/1.jpg"], ("cold", "warm")),
    ],
)
def test_two_class_folders_of_the_training_part_are_the_classes(paths, classes):
    assert classes_of(*paths) == (classes or ("ants", "bees"))


@pytest.mark.parametrize(
    ("more", "options", "named"),
    [
        ("warm/ants/2.jpg", {}, True),
        ("docs/2.jpg", {}, True),
        ("warm/ants/2.jpg", {"classes": ("ants", "bees")}, False),
        ("warm/ants/2.jpg", {"default_classes": ("cold", "warm")}, False),
        ("warm/wasps/2.jpg", {}, False),
        ("warm/2.jpg", {}, False),
    ],
)
def test_where_both_class_folders_have_the_same_two_folders_these_are_named(more, options, named):
    paths = [f"{site}/{name}/{n}.jpg" for site in ("warm", "cold") for name in ("ants", "bees") for n in "01"]
    rules = laid_out(*paths, more, **options).rules
    assert ("both have ants and bees: --classes ants,bees if these are the classes" in rules) == named


@pytest.mark.parametrize("folds", ["12", "123"])
def test_of_folds_the_classes_of_the_cache_are_those_within(folds):
    paths = [f"fold{fold}/{name}/{n}.jpg" for fold in folds for name in ("ants", "bees") for n in range(10)]
    assert laid_out(*paths, default_classes=("bees", "ants")).classes == ("bees", "ants")


def test_of_three_numbered_folders_the_summary_names_those_above_the_classes():
    paths = [f"grade{grade}/{side}/1.jpg" for grade in range(4) for side in ("left", "right")]
    layout = laid_out(*paths)
    assert layout.classes == ("left", "right")
    assert layout.rules[-1] == "both are in grade0, grade1 and 2 more: --classes grade0,grade1 if these are the classes"


@pytest.mark.parametrize("copy", ["photos", "photos/more", "ants2"])
@pytest.mark.parametrize("root", ["", "insects/"])
def test_a_folder_beside_the_class_folders_that_has_both_is_no_class(root, copy):
    paths = [f"{root}{folder}{name}/{n}.jpg" for folder in ("", f"{copy}/") for name in ("ants", "bees") for n in "123"]
    layout = laid_out(*paths)
    assert layout.classes == ("ants", "bees")
    assert ([p.label for p in layout.images], layout.skipped) == ([0, 0, 0, 1, 1, 1] * 2, {})
    with pytest.raises(CatsDogsError, match="3 folders that may be classes"):
        laid_out(*paths[:-3])  # without the second class it may be one


@pytest.mark.parametrize(
    ("uppers", "lowers", "classes"),
    [
        ("01234", "01", ("0", "1")),
        ("12345", "12", ("1", "2")),
        ("abc", "xy", None),
        ("01234", "01234", None),
        (("COVID", "Normal", "Pneumonia"), ("images", "masks"), None),
        (("site1", "site2", "site3"), "abc", None),
    ],
)
def test_of_more_than_two_folders_those_below_are_the_classes_only_of_numbered_ones(uppers, lowers, classes):
    paths = [f"{upper}/{lower}/{n}.jpg" for upper in uppers for lower in lowers for n in range(10)]
    if classes:
        layout = laid_out(*paths)
        assert (layout.classes, len(layout.images), layout.skipped) == (classes, len(paths), {})
    else:
        with pytest.raises(CatsDogsError, match=f"{len(uppers)} folders that may be classes: {uppers[0]}, "):
            laid_out(*paths)
    if not set(uppers) & set(lowers):
        for given in ("classes", "default_classes"):
            layout = laid_out(*paths, **{given: tuple(uppers[:2])})
            assert (layout.classes, len(layout.images)) == (tuple(uppers[:2]), 20 * len(lowers))


def test_folders_that_repeat_on_two_levels_lose_no_image():
    hashes = "0123456789abcdef"
    assert (
        len(laid_out(*(f"{a}/{b}/{kind}.{a}{b}.jpg" for a in hashes for b in hashes for kind in ("cat", "dog"))).images)
        == 512
    )
    shards = [f"{kind}/{a}/{b}/1.jpg" for kind in ("ants", "bees") for a in "012" for b in "012"]
    assert len(laid_out(*shards).images) == 18


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("horse-or-human", "validation-horse-or-human"),
        ("Insects", "insects_test_set"),
        ("insects train 224", "insects test 224"),
        ("training-insects", "val_insects"),
    ],
)
def test_folders_that_differ_by_the_name_of_a_split_are_splits(train, test):
    folders = [f"data/{split}/{name}" for split in (train, test) for name in ("ants", "bees")]
    layout = laid_out(*(f"{folder}/1.jpg" for folder in folders))
    assert layout.classes == ("ants", "bees")
    assert [(p.split, p.label, p.label_folder) for p in layout.images] == [
        ("train", 0, 2), ("train", 1, 2), ("test", 0, 2), ("test", 1, 2),
    ]  # fmt: skip
    assert layout.rules[0].startswith(f"{train}/ is the training split, {test}/ is the test split")
    with pytest.raises(CatsDogsError, match=f"labelled neither.*: data/{train}/2.jpg"):
        laid_out(*(f"{folder}/1.jpg" for folder in folders), f"data/{train}/2.jpg")


@pytest.mark.parametrize(
    "folders",
    [
        ("ants", "ants_test", "bees"),
        ("train_ants", "test_bees"),
        ("training_ants", "training_bees"),
        ("ants", "ants_train"),
        ("crash", "crash test"),
    ],
)
def test_folders_that_differ_otherwise_are_no_splits(folders):
    paths = [f"{folder}/{name}/1.jpg" for folder in folders for name in "xy"]
    layouts = [laid_out(*paths, classes=folders[:2])]
    if len(folders) == 2 and folders[0] != "crash":
        layouts.append(laid_out(*paths))
    for layout in layouts:
        assert [p.split for p in layout.images] == ["train"] * 4


def test_only_folders_that_have_all_images_are_splits_by_their_names():
    paths = [f"{kind}/{place}/{view}/1.jpg" for kind in ("ill", "well") for place in ("ct", "ct-test") for view in "xy"]
    assert {p.split for p in laid_out(*paths).images} == {"train"}
    assert laid_out(*paths).classes == ("ill", "well")
    old = [f"{folder}{kind}/1.jpg" for folder in ("", "old/pets/", "old/pets_test/") for kind in ("cats", "dogs")]
    assert [p.split for p in laid_out(*old).images] == ["train"] * 6


def test_a_split_without_labels_is_one_beside_a_named_training_split():
    layout = laid_out("pets_train/ants/1.jpg", "pets_train/bees/1.jpg", "pets_test/1.jpg")
    assert [(p.split, p.label) for p in layout.images] == [("train", 0), ("train", 1), ("test", -1)]


def test_folders_of_images_that_differ_by_the_name_of_a_split_are_classes():
    assert classes_of("crash/1.jpg", "crash/2.jpg", "crash test/1.jpg", "crash test/2.jpg") == ("crash", "crash test")


def test_the_rest_beside_a_training_split_is_none():
    paths = [f"pets{split}/{name}/1.jpg" for split in ("", "-train", "-test") for name in ("ants", "bees")]
    with pytest.raises(CatsDogsError, match="3 folders that may be classes"):
        laid_out(*paths)


def test_ids_and_labels_use_the_class_names_of_the_folders():
    found, skipped = placed("bees/1.jpg", "ants/1.jpg", "ants/ants.2.jpg", "notes.txt")
    assert skipped == 1
    assert found == {
        "ants/1.jpg": ("train", "ants.1", 0),
        "ants/ants.2.jpg": ("train", "ants.2", 0),
        "bees/1.jpg": ("train", "bees.1", 1),
    }


def test_class_folders_around_those_of_the_splits_label_both_splits():
    folders = itertools.product(("ants", "bees", "wasps"), ("train", "val"), "12")
    paths = [f"{name}/{split}/{number}.jpg" for name, split, number in folders]
    layout = laid_out(*paths, classes=("ants", "bees"))
    assert {("/".join(paths[p.position].split("/")[:2]), p.split, p.label) for p in layout.images} == {
        ("ants/train", "train", 0),
        ("bees/train", "train", 1),
        ("ants/val", "test", 0),
        ("bees/val", "test", 1),
    }
    assert len(layout.skipped) == 4


@pytest.mark.parametrize(("stray", "count"), [("figures", 9), ("figures/more", 9), ("photos/figures", 1)])
def test_a_folder_with_a_few_images_beside_that_of_the_class_folders_is_skipped(stray, count):
    paths = [f"photos/{name}/{n}.jpg" for name in ("ants", "bees") for n in range(10)]
    layout = laid_out(*paths, *(f"{stray}/{n}.jpg" for n in range(count)))
    assert layout.classes == ("ants", "bees")
    assert {p.position for p in layout.images} == set(range(20))
    assert set(layout.skipped.values()) == {"in other folders than those of ants and bees"}


def test_given_classes_label_flat_files_and_set_the_order():
    flat = ("ants.1.jpg", "bees.1.jpg")
    assert placed(*flat, classes=("bees", "ants"))[0] == {
        "ants.1.jpg": ("train", "ants.1", 1),
        "bees.1.jpg": ("train", "bees.1", 0),
    }
    with pytest.raises(CatsDogsError, match=r"neither cat nor dog: ants\.1\.jpg, bees\.1\.jpg.*--classes A,B"):
        placed(*flat)


def test_three_class_folders_are_named_and_two_can_be_selected():
    paths = ("wasps/1.jpg", "ants/1.jpg", "bees/1.jpg", "bees/2.jpg", "test/wasps/1.jpg", "test/ants/2.jpg")
    with pytest.raises(CatsDogsError, match=r"3 folders that may be classes: ants, bees, wasps.*--classes ants,bees"):
        placed(*paths)
    found, skipped = placed(*paths, classes=("bee", "wasp"))
    assert skipped == 2
    assert sorted(found.values()) == [
        ("test", "wasp.1", 1),
        ("train", "bee.1", 0),
        ("train", "bee.2", 0),
        ("train", "wasp.1", 1),
    ]
    with pytest.raises(CatsDogsError, match="labelled neither ant nor hornet"):  # one of them is none of the folders
        placed(*paths, classes=("ant", "hornet"))


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["ants.1.jpg", "bees.1.jpg"], ("bees", "ants")),
        (["Ants/1.jpg", "bee/1.jpg"], ("bees", "ants")),
        (["ants/1.jpg", "bees/1.jpg", "wasps/1.jpg"], ("bees", "ants")),
        (["test/1.jpg"], ("bees", "ants")),
        (["hornets/1.jpg", "wasps/1.jpg"], ("hornets", "wasps")),
        (["cat.1.jpg", "dog.1.jpg"], ("cat", "dog")),
    ],
)
def test_default_classes_are_used_if_the_folders_name_no_others(paths, classes):
    assert classes_of(*paths, default_classes=("bees", "ants")) == classes
