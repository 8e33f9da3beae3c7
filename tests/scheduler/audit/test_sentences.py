"""The sentences are a closed list: all are in the documents, and the code says no other."""

import re

import pytest

from scheduler.audit.sentences import SENTENCES, examples
from scheduler.audit.why_not import STAGES
from tests.pages import ROOT

PAGE = ROOT / "docs" / "explain.md"
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "scheduler" / "audit").glob("*.py")))


@pytest.mark.parametrize("name", sorted(SENTENCES))
def test_every_sentence_is_in_the_documents_with_its_example(name):
    assert f"`{name}` | {examples()[name]} |" in PAGE.read_text(encoding="utf-8")


def test_the_documents_list_no_other_sentence():
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(SENTENCES)


def test_the_code_says_each_sentence_and_no_other():
    said = set(re.findall(r"say\(\s*[\"'](\w+)[\"']", CODE)) | set(STAGES) | {"best", "explored"}
    assert said == set(SENTENCES)
