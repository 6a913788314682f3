"""Backends with their own tables."""

import pytest

from tests.support import own_tables


@pytest.fixture
def backend(backend, world):
    """Creates a backend with its own tables: `backend(*entries, **environment)`."""
    return lambda *entries, **environment: backend(entries, **own_tables(world) | environment)
