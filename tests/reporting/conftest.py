import shutil

import pytest
from support.browser import CHROMIUM

import catsdogs
from catsdogs.artifacts import Artifacts
from catsdogs.reporting.findings import gather


@pytest.fixture(scope="session")
def data(reportable):
    return reportable / "data"


@pytest.fixture(scope="session")
def artifacts(reportable):
    return reportable / "artifacts"


@pytest.fixture(scope="session")
def findings(artifacts):
    return gather(Artifacts(artifacts))


@pytest.fixture(scope="session")
def reported(artifacts, tmp_path_factory):
    """The result of `report`; its page is report.html."""
    return catsdogs.report(shutil.copytree(artifacts, tmp_path_factory.mktemp("reported") / "artifacts"))


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
