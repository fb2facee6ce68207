"""What is told of results agrees with what was recorded."""

from jaxdl.config.recipes import repository_root
from jaxdl.runs import ledger


def test_docstrings_agree_with_the_records():
    assert ledger.disagreements(repository_root()) == []


def test_the_readme_shows_the_records():
    readme = (repository_root() / "README.md").read_text()
    shown = readme.split("<!-- results -->")[1].split("<!-- /results -->")[0].strip()
    assert shown == ledger.readme_table(repository_root()).strip()
