"""README.md and the linked pages: their links are valid, and the figures are the measured ones."""

import re

import pytest

from local.processes import ROOT

PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)


def anchors(page) -> set[str]:
    """Returns the anchors that GitHub generates for the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_figures_are_those_that_were_measured():
    measured = (ROOT / "bench" / "RESULTS.md").read_text()
    [figures] = re.findall(r"^\d{4}-\d\d-\d\d: .*\n\n(?:\|.*\n)+", measured, re.MULTILINE)
    assert figures.count("\n") > 10 and figures in (ROOT / "README.md").read_text()


def test_the_first_three_steps_come_before_everything_else():
    beginning = (ROOT / "README.md").read_text().splitlines()[:16]
    assert [line[:2] for line in beginning if re.match(r"\d\. ", line)] == ["1.", "2.", "3."]


def test_every_variable_and_parameter_of_the_reference_is_one():
    reference = (ROOT / "docs" / "reference.md").read_text()
    template = (ROOT / "template.yaml").read_text()
    parameters = reference.split("## Parameters")[1].split("\n## ")[0]
    names = [
        name for row in re.findall(r"^\| (`.*?) \|", parameters, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert len(names) > 8
    assert [name for name in names if f"\n  {name}:\n    Type:" not in template] == []
