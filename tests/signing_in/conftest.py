"""Backends of these tests have tables of their own."""

import pytest

from tests.support import own_tables


@pytest.fixture
def backend(backend, world):
    """Makes a backend with tables of its own: `backend(*entries, **environment)`."""
    return lambda *entries, **environment: backend(entries, **own_tables(world) | environment)
