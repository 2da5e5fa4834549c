import pytest
from hypothesis import settings

from tests.support.paths import TESTS

#: Folders of tests that need more than Python, each with its marker: collected where -m or the path asks for them.
_APART = {
    "bench": "bench",
    "boot": "vm",
    "browser": "browser",
    "compilers": "compilers",
    "live": "live",
    "prometheus": "prometheus",
    "soak": "soak",
    "spark": "spark",
    "viewers": "viewers",
}

# A busy machine is slow, not wrong.
settings.register_profile("here", deadline=None)
settings.load_profile("here")


def pytest_addoption(parser):
    parser.addoption("--update-goldens", action="store_true", help="write the golden files anew")


def _apart(path):
    """The marker of the folder apart that ``path`` is in, or None."""
    return _APART.get(path.relative_to(TESTS).parts[0]) if path != TESTS and path.is_relative_to(TESTS) else None


def pytest_ignore_collect(collection_path, config):
    marker = _apart(collection_path)
    if marker is None or marker in config.option.markexpr.split():
        return None
    named = [config.invocation_params.dir / word.partition("::")[0] for word in config.args]
    return None if any(_apart(path.resolve()) == marker for path in named) else True


def pytest_collection_modifyitems(items):
    for item in items:
        if marker := _apart(item.path):
            item.add_marker(marker)


@pytest.fixture
def update_goldens(request):
    return request.config.getoption("--update-goldens")
