import pytest
from support.cache import fresh, restore


@pytest.fixture(scope="session")
def whole():
    """Return {path: bytes} of a complete cache."""
    return fresh()


@pytest.fixture
def cache(tmp_path, whole):
    """Return an artifacts folder with this cache."""
    restore(tmp_path, whole)
    return tmp_path
