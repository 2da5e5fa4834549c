import pytest
from hypothesis import settings

# A busy machine is slow, not wrong.
settings.register_profile("here", deadline=None)
settings.load_profile("here")


def pytest_addoption(parser):
    parser.addoption("--update-goldens", action="store_true", help="write the golden files anew")


@pytest.fixture
def update_goldens(request):
    return request.config.getoption("--update-goldens")
