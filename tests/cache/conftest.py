import pytest
from support.cache import fresh, restore


@pytest.fixture(scope="session")
def whole():
    """Return {path: bytes} of a whole cache."""
    return fresh()


@pytest.fixture
def cache(tmp_path, whole):
    """Return a folder of artifacts that holds it."""
    restore(tmp_path, whole)
    return tmp_path
