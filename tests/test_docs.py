"""What keeps the documents true: commands, options, keys, rules, links and snippets are those of the code."""

import ast
import importlib
import re
import tomllib

import msgspec
import pytest
import typer

from scheduler.decisions.arrays import DROPS, REASONS
from scheduler.spec import features, parse_spec, policy, raw, types
from scheduler.spec.section import Section
from tests.pages import PAGES, ROOT, page_name, resolve, section_of
from training.cli.app import app
from training.telemetry import rules

README = ROOT / "README.md"
MOST_README_LINES = 149
MOST_STEPS = 10

COMMANDS = typer.main.get_command(app).commands


def options_of(command):
    """Return the options of a command, of a group those of all its commands."""
    own = {"--help", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


OPTIONS = {name: options_of(command) for name, command in COMMANDS.items()}

HEADINGS = {
    types.Spec: "Top level",
    types.Telemetry: "`[telemetry]`",
    types.Slice: "`slice`",
    raw.RawColumn: "`[raw]`",
    types.Outcome: "`[outcomes]`",
    types.Cost: "`[cost]`",
    types.Column: "`[request]` and `[node]`",
    types.History: "`[history]`",
    types.LatentFactors: "`[latent_factors]`",
    types.ChangePoints: "`[change_points]`",
    types.Head: "`[heads]`",
    policy.Utility: "`[utility]`",
    policy.Profile: "`[[utility.profiles]]`",
    policy.Candidates: "`[candidates]`",
    policy.Tier: "`[[candidates.tiers]]`",
    policy.Ledger: "`[ledger]`",
    policy.Policy: "`[policy]`",
    types.WatchRules: "`[watch]`",
    types.Training: "`[training]`",
    types.Evaluation: "`[evaluation]`",
    types.PromotionRules: "`[promotion]`",
}
OPERATIONS = features.Feature.__args__
PLAIN = (bool, int, float, str, type(None))


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page):
    """Return the words after ``fogline`` of every command line in code blocks and spans."""
    text = page.read_text(encoding="utf-8")
    code = "\n".join(
        [*re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
    )
    return [line.split() for line in re.findall(r"^fogline +(.+)$", code, re.MULTILINE)]


def section(heading):
    """Return the text below a heading of formats.md, up to the next one."""
    return section_of(ROOT / "docs" / "formats.md", heading)


def table(heading):
    """Return the cells of each row of the first table below a heading, by what stands in the first cell."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section(heading).splitlines()
        if line[:1] == "|"
    ]
    return {cells[0].strip("`"): cells for cells in rows[2:]}


def slug(heading):
    """Return the anchor that a heading gets on a web page."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def as_toml(value):
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else f"{value:_}"


def test_every_command_with_json_has_its_keys_listed():
    listed = set(re.findall(r"^\| `fogline ([a-z -]+?) --json`", section("JSON outputs"), re.MULTILINE))
    groups = {name: getattr(command, "commands", {"": command}) for name, command in COMMANDS.items()}
    commands = {f"{group} {name}".strip(): one for group, some in groups.items() for name, one in some.items()}
    assert listed == {name for name, command in commands.items() if "--json" in options_of(command)}


def test_the_probes_find_something():
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/formats.md"} <= set(map(page_name, PAGES))
    assert ["train", ".fogline/demo/telemetry", "--spec", "mine.toml", "--until", "all", "--promote"] in commands(
        ROOT / "docs/how-to.md"
    )
    assert "--until" in OPTIONS["train"]
    assert "seconds" in table("`slice`")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_command_and_option_of_a_command_line_exists(page):
    for name, *words in commands(page):
        assert name in OPTIONS, f"fogline {name}"
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= OPTIONS[name], f"fogline {name}: {options - OPTIONS[name]}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_option_mentioned_by_itself_belongs_to_some_command(page):
    known = set.union(*OPTIONS.values())
    mentioned = re.findall(r"`(--[a-z-]+)[^`\n]*`", page.read_text(encoding="utf-8"))
    assert set(mentioned) <= known


def test_the_readme_names_every_command():
    assert {words[0] for words in commands(ROOT / "README.md")} == COMMANDS.keys()


def test_every_make_target_mentioned_exists():
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        code = "\n".join([*blocks(page, "sh"), *re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))])
        assert set(re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)) <= targets, page_name(page)


def test_every_part_of_a_spec_has_its_heading():
    parts = {
        kind
        for module in (features, policy, raw, types)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Section) and kind is not Section
    }
    assert parts == {*HEADINGS, *OPERATIONS}


@pytest.mark.parametrize("kind", HEADINGS, ids=lambda kind: kind.__name__)
def test_every_key_of_a_spec_stands_in_formats_with_its_default(kind):
    rows = table(HEADINGS[kind])
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    assert rows.keys() == fields.keys()
    for name, field in fields.items():
        default = rows[name][2].strip("`")
        assert (default == "required") == field.required, name
        if isinstance(field.default, PLAIN) and field.default is not None:
            assert default == as_toml(field.default), name


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
def test_every_feature_operation_stands_in_formats_with_its_keys(kind):
    row = table("`[features]`")[f'"{kind.__struct_config__.tag}"']
    assert {f"`{name}`" for name in kind.__struct_fields__} <= set(re.findall(r"`\w+`", row[1]))


def test_every_rule_that_rejects_rows_stands_in_formats():
    told = section("Telemetry directory")
    names = [*rules._ROW_RULES, *(f"NAME: {what}" for what in rules._NUMBER_RULES)]  # noqa: SLF001
    assert [name for name in names if f"`{name}`" not in told] == []


@pytest.mark.parametrize("name", [*REASONS, *DROPS])
def test_every_reason_code_stands_in_formats(name):
    assert f"`{name}`" in section("Decisions")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_toml_snippets_parse(page):
    for text in blocks(page, "toml"):
        tomllib.loads(text)


def test_the_snippets_of_the_how_to_make_a_whole_spec():
    spec = parse_spec("\n".join(blocks(ROOT / "docs" / "how-to.md", "toml")))
    assert spec.name == "mine"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_python_snippets_import_what_there_is(page):
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("scheduler", "training"):
                module = importlib.import_module(node.module)
                assert [a.name for a in node.names if not hasattr(module, a.name)] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_source_file_mentioned_exists(page):
    mentioned = re.findall(
        r"`((?:scheduler|training|tests|examples|models|docs)/[\w./-]+)`", page.read_text(encoding="utf-8")
    )
    assert [name for name in mentioned if "artifacts" not in name and not (ROOT / name).exists()] == []


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES


@pytest.mark.parametrize("package", ["scheduler", "training"])
def test_the_readme_describes_each_sub_package_by_its_docstring_without_an_and(package):
    told = dict(re.findall(r"^\| `(\w+)/` \| (.+) \|$", tree_of(package), re.MULTILINE))
    folders = {path.parent.name: path.read_text(encoding="utf-8") for path in ROOT.glob(f"{package}/*/__init__.py")}
    docstrings = {
        name: (ast.get_docstring(ast.parse(source)) or "").splitlines()[0] for name, source in folders.items()
    }
    assert {name: sentence.replace("`", "``") for name, sentence in told.items()} == docstrings
    assert [sentence for sentence in told.values() if re.search(r"\band\b", sentence)] == []


def tree_of(package):
    """Return the part of the README's tree that is about one package."""
    return section_of(README, "The house").split(f"| in `{package}/` |")[1].split("\n\n")[0]


@pytest.mark.parametrize("heading", ["The way of a request", "The way of an outcome"])
def test_each_step_of_a_walk_names_one_function_that_exists(heading):
    told = section_of(ROOT / "docs" / "architecture.md", heading)
    steps = re.findall(r"^\d+\. (.+?)(?=^\d+\. |\Z)", told, re.MULTILINE | re.DOTALL)
    assert 1 < len(steps) <= MOST_STEPS
    for step in steps:
        names = re.findall(r"`((?:scheduler|training)\.[\w.]+)`", step)
        assert len(names) == 1, step
        assert callable(resolve(names[0])), step
