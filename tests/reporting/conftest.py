import pytest
from support.browser import CHROMIUM
from support.report import make_artifacts

import catsdogs
from catsdogs.artifacts import Artifacts
from catsdogs.reporting.findings import gather


@pytest.fixture(scope="session")
def made(tmp_path_factory, draw, encode, write_folder, cache_of):
    return make_artifacts(tmp_path_factory.mktemp("made"), draw, encode, write_folder, cache_of)


@pytest.fixture(scope="session")
def data(made):
    return made / "data"


@pytest.fixture(scope="session")
def artifacts(made):
    return made / "artifacts"


@pytest.fixture(scope="session")
def findings(artifacts):
    return gather(Artifacts(artifacts))


@pytest.fixture(scope="session")
def reported(artifacts):
    """The result of `report`; its page is report.html."""
    return catsdogs.report(artifacts)


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
