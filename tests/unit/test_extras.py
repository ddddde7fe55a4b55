"""A library that is missing is named with the extra that brings it."""
import pytest

from benchmark_shine.extras import require


def test_what_is_installed_is_not_mentioned():
    require("data", "torch", "numpy")


def test_what_is_missing_is_named_with_its_extra():
    with pytest.raises(ImportError) as found:
        require("data", "torch", "no_such_library", "nor_this")
    assert found.value.name == "no_such_library"
    assert str(found.value) == (
        "no_such_library, nor_this: not installed; "
        "pip install 'benchmark_shine[data]'"
    )
