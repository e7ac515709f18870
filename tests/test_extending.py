"""The examples of docs/extending.md, run as a reader would, and the links of the README."""

import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs/extending.md").read_text()
EXAMPLES = dict(re.findall(r"^## (.+?)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))


def test_every_section_has_an_example_and_links_of_the_readme_exist() -> None:
    assert list(EXAMPLES) == re.findall(r"^## (.+)", PAGE, re.MULTILINE)
    targets = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text())
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


@pytest.mark.parametrize("title", EXAMPLES)
def test_example_runs(title: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(EXAMPLES[title], title, "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    assert printed
    if losses := [float(value) for value in re.findall("loss (.+)", printed)]:
        assert losses[-1] < losses[0] / 2
