"""``gbtune spaces``, on the spaces that come with gbtune, on a plug-in's, and on broken files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gbtune.cli import main
from gbtune.spaces import SearchSpace, available, builtin_folder
from gbtune.spaces.folders import ENTRY_POINT_GROUP

ROOT = Path(__file__).parents[1]
CORE = builtin_folder() / "xgboost" / "core.toml"


def spaces(*words: str | Path, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(main, ["spaces", *map(str, words)])


def write(path: Path, text: str, *, family: str = "xgboost", name: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = f'schema = 1\nfamily = "{family}"\nname = "{name or path.stem}"\n'
    path.write_text(header + text, encoding="utf-8")
    return path


DEPTH = '[parameters.max_depth]\nkind = "int"\nlow = 3\nhigh = 9\ndefault = 6\n'


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of spaces of an installed package, which has a good one and a broken one."""
    folder = tmp_path / "theirs"
    write(folder / "xgboost" / "ours-at-work.toml", f'summary = "what we use at work"\n{DEPTH}')
    write(folder / "xgboost" / "torn.toml", '[parameters.max_depth]\nkind = "int"\nlow = 9\nhigh = 3\ndefault = 6\n')
    site = tmp_path / "site"
    metadata = site / "work_spaces-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: work-spaces\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nwork = work_spaces:FOLDER\n")
    (site / "work_spaces.py").write_text(f"FOLDER = {str(folder)!r}\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "work_spaces", raising=False)
    return folder


# -- list -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 100, 300])
def test_the_list_has_every_space_and_fragment(columns: int) -> None:
    done = spaces("list", columns=columns)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    # in a narrow terminal each summary has a line of its own
    assert lines[0].split() == ["SPACE", "VERSION", "TUNED", "STATUS", *(["SUMMARY"] if columns > 80 else [])]
    assert max(map(len, lines)) <= min(columns, 100)
    assert "shallow trees, slow learning and L2" in " ".join(done.output.split())
    first_words = [line.split()[0] for line in lines[1:] if not line.startswith(" ")]
    fragments = [key.replace("/", "/+") for key in available(fragments=True)]
    assert first_words == [*available(), *fragments]
    (core,) = [line for line in lines if line.startswith("xgboost/core ")]
    assert core.split()[1:4] == [SearchSpace.load("xgboost/core").version, "6", "recommended"]


def test_one_family_can_be_listed() -> None:
    done = spaces("list", "--family", "lightgbm", "--json")
    rows = json.loads(done.output)
    assert {row["family"] for row in rows} == {"lightgbm"}
    assert {row["space"] for row in rows if not row["fragment"]} == set(available("lightgbm"))
    assert all(Path(row["file"]).is_file() for row in rows)
    (mini,) = [row for row in rows if row["name"] == "grid-mini"]
    assert (mini["parameters"], mini["version"], mini["status"]) == (3, "1", "recommended")
    unknown = spaces("list", "--family", "lightgmb")
    assert unknown.exit_code == 1 and "Did you mean 'lightgbm'" in unknown.output


def test_the_spaces_of_a_plug_in_are_listed_and_a_broken_one_hides_none(plugin: Path) -> None:
    rows = {row["space"]: row for row in json.loads(spaces("list", "--json").output)}
    assert rows["xgboost/ours-at-work"]["summary"] == "what we use at work"
    assert rows["xgboost/torn"]["status"] == "invalid" and "at least low" in rows["xgboost/torn"]["summary"]
    assert set(available()) < set(rows)
    table = spaces("list", "--family", "xgboost", columns=100).output
    assert re.search(r"^xgboost/torn .* invalid +\[parameters", table, re.MULTILINE)
    assert "what we use at work" in spaces("show", "xgboost/ours-at-work").output


def test_a_plug_in_that_cannot_be_read_is_told_in_one_line(plugin: Path) -> None:
    (plugin.parent / "site" / "work_spaces.py").write_text("raise RuntimeError('no licence')\n")
    done = spaces("list")
    assert done.exit_code == 0
    assert re.search(r"^Warning: .*'work'.*no licence", done.stderr, re.MULTILINE)
    assert "GbtuneWarning" not in done.output and len(done.stderr.splitlines()) == 1


def test_the_catalogue_of_the_documentation_is_the_list() -> None:
    text = (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
    tables = re.findall(r"<!-- catalogue: (\w+) -->\n(.*?)\n<!-- end of catalogue -->", text, re.DOTALL)
    assert [family for family, _ in tables] == ["xgboost", "lightgbm"]
    for family, table in tables:
        command = f"gbtune spaces list --family {family} --markdown"
        assert table == spaces(*command.split()[2:]).output.strip(), f"paste the output of: {command}"


def test_two_formats_at_once_are_refused() -> None:
    assert spaces("list", "--json", "--markdown").exit_code == 2


# -- show -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_a_space_is_shown_with_all_it_says_in_the_width_of_the_terminal(columns: int) -> None:
    done = spaces("show", "xgboost/wide", columns=columns)
    assert done.exit_code == 0, done.output
    longest_word = max(len(word) for word in done.output.split())
    assert max(map(len, done.output.splitlines())) <= max(min(columns, 100), longest_word + 6)
    text = " ".join(done.output.split())
    space = SearchSpace.load("xgboost/wide")
    for parameter in space.parameters:
        assert parameter.name in text and parameter.why in text
    assert "8 to 1024; log; default 64; when grow_policy = 'lossguide'; grid 16, 64, 256" in text
    assert all(source in text for source in space.sources)
    assert all(entry.provenance in text for entry in space.portfolio)


def test_a_space_is_shown_as_json_that_loads_again(tmp_path: Path) -> None:
    for reference in ("lightgbm/tabarena-2025", str(CORE), "xgboost/core+regularization"):
        done = spaces("show", reference, "--json")
        assert SearchSpace.load(json.loads(done.output)) == SearchSpace.load(reference)


def test_a_file_of_ones_own_can_be_shown(tmp_path: Path) -> None:
    done = spaces("show", write(tmp_path / "mine.toml", f'status = "comparison"\n{DEPTH}'))
    assert "xgboost/mine  (search space, version 1, for comparison)" in done.output
    assert "3 to 9; default 6" in done.output and "Portfolio" not in done.output


def test_a_space_that_is_not_there_says_the_nearest() -> None:
    done = spaces("show", "xgboost/cor")
    assert done.exit_code == 1 and "Did you mean 'xgboost/core'" in done.output
    assert "needs its family" in spaces("show", "core").output


# -- diff -----------------------------------------------------------------------------------------------------


def test_spaces_that_search_the_same_do_not_differ(tmp_path: Path) -> None:
    text = (
        CORE.read_text(encoding="utf-8").replace('name = "core"', 'name = "mine"').replace("why = ", "why = 'ours' #")
    )
    copy = tmp_path / "mine.toml"
    copy.write_text(text, encoding="utf-8")
    assert SearchSpace.load(copy) != SearchSpace.load(CORE), "names and reasons differ"
    done = spaces("diff", "xgboost/core", copy)
    assert done.exit_code == 0 and "search the same" in done.output


def test_what_differs_is_said_parameter_by_parameter() -> None:
    done = spaces("diff", "xgboost/core", "xgboost/wide")
    assert done.exit_code == 1
    assert "max_depth\n  - int: 3 to 12; default 6" in done.output
    assert "colsample_bylevel\n  + float: 0.5 to 1" in done.output
    assert not re.search(r"^n_estimators", done.output, re.MULTILINE), "it is the same in both"
    assert f"portfolio\n  - {len(SearchSpace.load('xgboost/core').portfolio)} entries" in done.output
    other = spaces("diff", "xgboost/wide", "xgboost/core")
    assert "colsample_bylevel\n  - float: 0.5 to 1" in other.output


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("low = 3", "low = 4", "max_depth\n  - int: 3 to 9"),
        ("high = 9", "high = 8", "+ int: 3 to 8"),
        ("default = 6", "default = 5", "default 5"),
        ("default = 6", "default = 6\ngrid = [3]", "grid 3"),
        ("default = 6", "default = 6\nlog = true", "log"),
        ('kind = "int"', 'kind = "float"', "+ float: 3 to 9"),
    ],
)
def test_each_thing_a_search_depends_on_counts(old: str, new: str, told: str, tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.toml", DEPTH), write(tmp_path / "b.toml", DEPTH.replace(old, new))
    done = spaces("diff", a, b)
    assert done.exit_code == 1 and told in done.output, done.output


def test_a_difference_beyond_the_sixth_digit_the_order_the_tasks_and_the_family_count(tmp_path: Path) -> None:
    rate = '[parameters.learning_rate]\nkind = "float"\nlow = 0.1\nhigh = {}\ndefault = 0.1\n'
    a = write(tmp_path / "a.toml", DEPTH + rate.format("0.30000001"))
    b = write(tmp_path / "b.toml", DEPTH + rate.format("0.30000002"))
    assert "0.30000002" in spaces("diff", a, b).output
    c = write(tmp_path / "c.toml", rate.format("0.30000001") + DEPTH)
    assert "order\n  - max_depth, learning_rate\n  + learning_rate, max_depth" in spaces("diff", a, c).output
    d = write(tmp_path / "d.toml", 'tasks = ["binary"]\n' + DEPTH + rate.format("0.30000001"))
    assert "tasks\n  - binary, multiclass, regression\n  + binary" in spaces("diff", a, d).output
    e = write(tmp_path / "e.toml", DEPTH + rate.format("0.30000001"), family="lightgbm")
    assert "family\n  - xgboost\n  + lightgbm" in spaces("diff", a, e).output
    f = write(
        tmp_path / "f.toml", DEPTH + rate.format("0.30000001") + '[[portfolio]]\nparams = {}\nprovenance = "us"\n'
    )
    assert "portfolio\n  + 1 entry, 1 of them here alone" in spaces("diff", a, f).output


def test_trouble_is_told_from_a_difference() -> None:
    done = spaces("diff", "xgboost/core", "xgboost/nowhere")
    assert done.exit_code == 2 and "Unknown search space" in done.output


# -- validate -------------------------------------------------------------------------------------------------


def test_all_that_gbtune_ships_is_valid() -> None:
    done = spaces("validate", builtin_folder())
    assert done.exit_code == 0, done.output
    count = len(list(builtin_folder().rglob("*.toml")))
    assert done.output.splitlines()[-1].startswith(f"{count} files: 0 errors, ")


def test_all_problems_of_all_files_are_told_with_file_key_and_rule(tmp_path: Path) -> None:
    one = write(
        tmp_path / "one.toml",
        """
        sumary = "misspelt"
        version = 3
        tasks = ["ranking"]
        status = "good"
        [parameters.max_depth]
        kind = "int"
        low = 9
        high = 3
        default = 6
        [parameters.max_leaves]
        kind = "int"
        low = 2
        high = 8
        default = 4
        when = { max_depth = 4 }
        [parameters.max_leafs]
        kind = "fixed"
        value = 8
        [parameters.gamma]
        kind = "float"
        low = 0.0
        high = 1.0
        default = 2.0
        [parameters.subsample]
        kind = "fixed"
        derived = { rule = "equal", of = "colsample_bytree" }
        [[portfolio]]
        params = { max_depth = 4 }
        provenance = "us"
        [[portfolio]]
        params = { max_leafs = "many", eta = 0.1 }
        """,
    )
    two = write(tmp_path / "two.toml", DEPTH, family="xgbost")
    three = tmp_path / "three.toml"
    three.write_text("schema = = 1")
    absent = tmp_path / "absent.toml"
    done = spaces("validate", one, two, three, absent)
    assert done.exit_code == 1
    *lines, last = done.output.splitlines()
    expected = [
        (one, "sumary: .*Did you mean 'summary'"),
        (one, "version: must be a text, got 3"),
        (one, "tasks: Unknown task 'ranking'"),
        (one, "status: Unknown status 'good'.*comparison, recommended"),
        (one, r"\[parameters.max_depth\] high: must be at least low = 9, got 3"),
        (one, r"\[parameters.max_leafs\]: .*Did you mean 'max_leaves'"),
        (one, r"\[parameters.gamma\] default: must be from 0.0 to 1.0, got 2.0"),
        (one, r"\[parameters.subsample\] derived: must refer to a parameter declared above"),
        (one, r"\[\[portfolio\]\] number 2, provenance: the key is missing"),
        (two, "family: Unknown family 'xgbost'. Did you mean 'xgboost'"),
        (three, "the file is not valid TOML"),
        (absent, "the search-space file cannot be read: No such file"),
    ]
    assert len(lines) == len(expected), done.output
    for line, (file, rule) in zip(lines, expected, strict=True):
        assert re.match(rf"{re.escape(str(file))}: error: {rule}", line), line
    assert last == "4 files: 12 errors, 0 notes"


def test_whatever_keeps_a_space_from_loading_is_an_error(tmp_path: Path) -> None:
    broken = [
        "parameters = 3\n",
        "[parameters]\n",
        'portfolio = 3\n[parameters.max_depth]\nkind = "fixed"\nvalue = 3\n',
        f'fragment = true\n{DEPTH}[[portfolio]]\nparams = {{}}\nprovenance = "us"\n',
        f'{DEPTH}[[portfolio]]\nparams = {{ max_depth = "deep" }}\nprovenance = "us"\n',
        f'{DEPTH}[parameters.max_leaves]\nkind = "fixed"\nvalue = 3\nwhen = {{ max_depth = 99 }}\n',
        "license = 3\n" + DEPTH,
    ]
    for number, text in enumerate(broken):
        file = write(tmp_path / f"broken-{number}.toml", text)
        with pytest.raises(ValueError):
            SearchSpace.load(file)
        done = spaces("validate", file)
        assert done.exit_code == 1 and "1 file: 1 error" in done.output, (text, done.output)


def test_the_number_of_rounds_needs_no_family_to_know_it(tmp_path: Path) -> None:
    rounds = '[parameters.n_estimators]\nkind = "rounds"\nlow = 5\nhigh = 50\ndefault = 10\n'
    assert spaces("validate", write(tmp_path / "mine.toml", DEPTH + rounds)).exit_code == 0


def test_values_of_a_portfolio_outside_of_the_space_are_notes(tmp_path: Path) -> None:
    entry = '[[portfolio]]\nparams = {{ max_depth = {} }}\nprovenance = "us"\n'
    file = write(tmp_path / "mine.toml", DEPTH + entry.format(5) + entry.format(99))
    done = spaces("validate", file)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        f"{file}: note: [[portfolio]] number 2: outside of the space; tried is 9 for max_depth 99.",
        "1 file: 0 errors, 1 note",
    ]


def test_in_a_folder_names_are_those_of_folder_and_file(tmp_path: Path) -> None:
    write(tmp_path / "xgboost" / "right.toml", DEPTH)
    wrong = write(tmp_path / "xgboost" / "wrong.toml", DEPTH, name="other")
    part = write(tmp_path / "xgboost" / "fragments" / "part.toml", DEPTH)
    for folder in (tmp_path, tmp_path / "xgboost"):
        done = spaces("validate", folder)
        assert done.exit_code == 1 and "files: 2 errors" in done.output, done.output
        assert f"{wrong}: error: family, name: must repeat the names" in done.output
        assert f"{part}: error: fragment: what lies in a folder 'fragments'" in done.output or folder != tmp_path
    assert spaces("validate", wrong).exit_code == 0, "a file alone may have any name"


def test_a_folder_without_spaces_is_told(tmp_path: Path) -> None:
    done = spaces("validate", tmp_path)
    assert done.exit_code == 1 and "holds no space" in done.output
    assert spaces("validate").exit_code == 2


# -- the command ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["list", "show", "diff", "validate"])
def test_each_command_explains_itself(command: str) -> None:
    assert command in spaces("--help").output
    done = spaces(command, "--help")
    assert done.exit_code == 0 and len(done.output.splitlines()) > 6


def test_the_command_runs_as_a_process(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("gbtune")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(script), "spaces", *words], capture_output=True, text=True, cwd=tmp_path)

    different = run("diff", "xgboost/small", "xgboost/large")
    assert different.returncode == 1 and "grow_policy" in different.stdout and not different.stderr
    write(tmp_path / "bad.toml", DEPTH.replace("max_depth", "depth"))
    bad = run("validate", "bad.toml")
    assert bad.returncode == 1 and bad.stdout.startswith(
        "bad.toml: error: [parameters.depth]: Unknown xgboost parameter"
    )
