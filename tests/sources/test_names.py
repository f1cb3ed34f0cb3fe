import unicodedata

import pytest

from catsdogs.sources.names import class_key, is_system, label_by_prefix, split_of


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Training", "TRAIN", "train_images", "Training Images", "training_set")
        ),
        *((name, "train") for name in ("train-224", "train_256x256", "train 2", "train2017", "TrainSet", "trainval")),
        *(
            (name, "train")
            for name in ("train_dataset", "images_train", "train_jpg", "train (1)", "cats-dogs-training")
        ),
        *(
            (name, "test")
            for name in ("test", "test1", "test_stg1", "Testing", "test-images-224", "testset", "test_set")
        ),
        *((name, "validation") for name in ("val", "valid", "Validation", "dev", "val2017", "val_images", "dev-set")),
        *(
            (name, None)
            for name in ("trains", "trainer", "tester", "value", "devil", "contest", "cat", "crash-test", "")
        ),
    ],
)
def test_folders_that_are_named_like_a_split_are_its(name, split):
    assert split_of(name) == split


def test_a_long_name_is_no_hang():
    assert split_of("train" + "1" * 200 + "-images" * 30 + "dataset" * 30 + "!") is None


@pytest.mark.parametrize("name", ["Kätzchen", "KÄTZCHEN", "kätzchens"])
def test_a_class_is_one_class_in_any_form_of_unicode_and_any_case(name):
    assert class_key(unicodedata.normalize("NFD", name)) == class_key("kätzchen")


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        *((stem, 0) for stem in ("cat_001", "cat-1", "cat 1", "cat1", "Cats_1", "cat (3)", "CAT_fluffy")),
        *((stem, 1) for stem in ("dog_001", "dogs12", "dog-4")),
        *(
            (stem, -1)
            for stem in ("Abyssinian_1", "catalogue_1", "category", "black_cat_1", "cat", "caterpillar1", "1")
        ),
    ],
)
def test_a_name_begins_with_a_class_only_as_a_whole_word(stem, label):
    assert label_by_prefix(stem, {"cat": 0, "dog": 1}) == label


def test_the_longer_of_two_classes_is_that_of_a_name():
    assert label_by_prefix("cat_big_1", {"cat": 0, "cat_big": 1}) == 1


def test_images_whose_names_begin_with_an_at_sign_are_no_thumbnails_of_a_nas():
    assert not is_system(("cats", "@somebody.jpg"))
    assert is_system(("cats", "@eaDir", "1.jpg"))
