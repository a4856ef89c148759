"""Options set by flag, by variable and by file: the same values, in one order, and errors that say where."""

from __future__ import annotations

import contextlib
import json
import re
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
from command import Fails, Run, contents

from deltaoe.errors import ConfigError
from deltaoe_cli.command import Command, commands, variable
from deltaoe_cli.defaults_file import ASKED_EACH_TIME
from deltaoe_cli.main import app
from deltaoe_cli.option_kinds import flag, kinds_of

ROOT: Any = typer.main.get_command(app)
COMMANDS = commands(ROOT)
OPTIONS = [
    pytest.param(words, option.name, id=f"{' '.join(words)} --{flag(option)}")
    for words, command in COMMANDS.items()
    for option in command.options
    if option.name != "workspace"
]


# What is said of one input is set for this input alone.
IMPORT = ("store", "import")
FACTS = {(IMPORT, name) for name in ("model", "pretrained", "paths", "labels", "features", "classes")}


def parsed(words: tuple[str, ...], *arguments: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a command's parameters, and where each is from, without running it."""
    context: Any = ROOT.context_class(ROOT, info_name="deltaoe")
    group: Any = ROOT
    for word in words[:-1]:
        group = group.commands[word]
        context = group.context_class(group, info_name=word, parent=context)
    command = COMMANDS[words]
    needed = ["word"] * sum(one.param_type_name == "argument" and one.required for one in command.params)
    context = command.make_context(words[-1], [*needed, *arguments], parent=context)
    sources = {name: str(context.get_parameter_source(name)).rpartition(".")[2] for name in context.params}
    return context.params, sources


def samples(command: Command, name: str) -> tuple[Any, list[str]]:
    """A value that is not the default, as TOML has it, and the words of a command line that say the same."""
    (option,) = (one for one in command.options if one.name == name)
    kind, written = kinds_of(command)[flag(option)], f"--{flag(option)}"
    if kind.kind is bool:
        return True, [written]
    if get_origin(kind.kind) is list:
        inner = get_args(kind.kind)[0]
        value = next(iter(inner)).value if isinstance(inner, type) and issubclass(inner, Enum) else "some"
        value = f"name={value}" if kind.field is not None and kind.field.option.named else value
        return [value], [written, value]
    if get_origin(kind.kind) is Literal:
        value = next(one for one in get_args(kind.kind) if one != option.default)
        return value, [written, value]
    if isinstance(kind.kind, type) and issubclass(kind.kind, Enum):
        value = next(one.value for one in kind.kind)
        return value, [written, value]
    auto_number = kind.field is not None and kind.field.option.auto and kind.field.kind is int
    value = 7 if kind.kind is int or auto_number else 0.25 if kind.kind is float else "some"
    return value, [written, str(value)]


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for option in (one for command in COMMANDS.values() for one in command.options):
        monkeypatch.delenv(variable(option), raising=False)


@pytest.mark.parametrize(("words", "name"), OPTIONS)
def test_each_option_takes_the_same_value_from_flag_variable_and_file(
    words: tuple[str, ...], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = COMMANDS[words]
    (option,) = (one for one in command.options if one.name == name)
    value, said = samples(command, name)
    usual, source = parsed(words)
    assert source[name] == "DEFAULT"
    by_flag, source = parsed(words, *said)
    assert (source[name], by_flag[name] != usual[name]) == ("COMMANDLINE", True)
    if flag(option) in ASKED_EACH_TIME:
        monkeypatch.setenv(variable(option), "1" if value is True else str(value))
        assert parsed(words)[0] == usual
        Path("deltaoe.toml").write_text(f"[{'.'.join(words)}]\n{flag(option)} = {json.dumps(value)}\n")
        with pytest.raises(ConfigError, match="is asked for each time"):
            parsed(words)
        return
    fact = (words, flag(option)) in FACTS
    monkeypatch.setenv(
        variable(option), "1" if value is True else value[0] if isinstance(value, list) else str(value)
    )
    by_variable, source = parsed(words)
    assert (by_variable, source[name]) == ((usual, "DEFAULT") if fact else (by_flag, "ENVIRONMENT"))
    monkeypatch.delenv(variable(option))
    for spelled in {flag(option), flag(option).replace("-", "_")}:
        entry = f"{spelled} = {json.dumps(value)}\n"
        for table in {"", words[0], ".".join(words)}:
            Path("deltaoe.toml").write_text(f"[{table}]\n{entry}" if table else entry)
            if fact and table != ".".join(words):
                with contextlib.suppress(ConfigError):  # nobody else has the option
                    assert parsed(words)[0] == usual
                continue
            by_file, source = parsed(words)
            assert (by_file, source[name]) == (by_flag, "DEFAULT_MAP")


def test_flag_before_variable_before_file_before_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def alpha(*arguments: str) -> Any:
        return parsed(("score",), *arguments)[0]["alpha"]

    assert alpha() == 0.05
    Path("pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert alpha() == 0.05
    Path("pyproject.toml").write_text("[tool.deltaoe]\nalpha = 0.1\n")
    assert alpha() == 0.1
    Path("deltaoe.toml").write_text("alpha = 0.2\n")
    assert alpha() == 0.2
    Path("deltaoe.toml").write_text("alpha = 0.2\n[score]\nalpha = 0.3\n[evaluate]\nalpha = 0.35")
    assert alpha() == 0.3
    monkeypatch.setenv("DELTAOE_ALPHA", "0.4")
    assert alpha() == 0.4
    assert alpha("--alpha", "0.5") == 0.5
    monkeypatch.setenv("DELTAOE_ALPHA", "")  # an empty variable is none
    assert alpha() == 0.3


@pytest.mark.parametrize(("text", "is_on"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_switches(text: str, is_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: str) -> Any:
        return parsed(("extract",), *arguments)[0]["offline"]

    Path("deltaoe.toml").write_text(f"offline = {str(not is_on).lower()}")
    assert offline() is not is_on
    monkeypatch.setenv("DELTAOE_OFFLINE", text)
    assert offline() is is_on
    assert (offline("--no-offline"), offline("--offline")) == (False, True)


def test_several_values_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTAOE_OOD", "near=a far=data:b")
    assert parsed(("evaluate",))[0]["ood"] == ["near=a", "far=data:b"]


def test_the_documented_example_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "configuration.md"
    (example,) = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    Path("deltaoe.toml").write_text(example)
    found, source = parsed(("score",))
    assert (found["alpha"], found["model"]) == (0.1, "local-dir:clip")
    assert {name for name in source if source[name] == "DEFAULT_MAP"} == {"report", "alpha", "model"}
    assert parsed(("tune",))[0]["shots"] == 8
    assert parsed(("store", "export"))[0]["data"] == "data:flowers"


def test_the_file_lies_beside_the_workspace_and_paths_in_it_start_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".deltaoe").mkdir()
    (tmp_path / "below").mkdir()
    (tmp_path / "names.txt").touch()
    (tmp_path / "ViT-B-16").touch()  # the name of a model is no path
    Path("deltaoe.toml").write_text(
        'labels = "labels.txt"\nbackground = "names.txt"\nmodel = "local-dir:clip"\ntemplate = "names.txt"\n'
        '[evaluate]\nood = {near = "names.txt", far = "data:far"}\nmodel = "ViT-B-16"\nbackground = "imagenet"\n'
    )
    monkeypatch.chdir("below")
    found, _ = parsed(("score",))
    assert (found["labels"], found["background"]) == (tmp_path / "labels.txt", str(tmp_path / "names.txt"))
    assert (found["model"], found["template"]) == (f"local-dir:{tmp_path}/clip", "names.txt")
    found, _ = parsed(("evaluate",))
    assert found["ood"] == [f"near={tmp_path}/names.txt", "far=data:far"]
    assert (found["model"], found["background"]) == ("ViT-B-16", "imagenet")
    assert parsed(("score",), "--workspace", str(tmp_path / "below" / "other"))[0]["labels"] is None
    assert parsed(("score",), "--workspace", str(tmp_path / "other"))[0]["labels"] == tmp_path / "labels.txt"
    monkeypatch.setenv("DELTAOE_WORKSPACE", str(tmp_path / "below" / "other"))
    assert parsed(("score",))[0]["labels"] is None


def test_every_text_that_may_name_a_file_starts_at_the_defaults_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".deltaoe").mkdir()
    (tmp_path / "below").mkdir()
    for name in ("mine.safetensors", "shop"):
        (tmp_path / name).touch()
    says_so = re.compile(r"\bfiles?\b|list of names|\.npz|\bDATA\b|data:NAME|extracted (folder|input)")
    names_something = {("store import", "features"), ("store import", "name"), ("extract", "name")}
    names_something |= {(" ".join(words), "sample-range") for words in COMMANDS}
    texts = {
        (" ".join(words), flag(option)): kinds_of(command)[flag(option)]
        for words, command in COMMANDS.items()
        for option in command.options
        if says_so.search(option.help or "")
    }
    texts = {at: kind for at, kind in texts.items() if kind.kind in (str, list[str])}
    assert {"vocabulary", "detector", "background", "data", "ood", "protocol"} <= {name for _, name in texts}
    monkeypatch.chdir("below")
    there = str(tmp_path / "mine.safetensors")
    for at in texts.keys() - names_something:
        assert texts[at].word("mine.safetensors", tmp_path) in (there, [there]), at
    assert (
        texts["score", "detector"].word("shop", tmp_path) == "shop"
    )  # the name of a detector, though a file is called so, too


REFUSED = {
    "shotz = 4": ("deltaoe.toml: shotz is no option of any command", "did you mean shots?"),
    "[score]\nalfa = 1": ("deltaoe.toml: [score] alfa is no option of deltaoe score", "did you mean alpha?"),
    "[score]\nshots = 4": (
        "deltaoe.toml: [score] shots is no option of deltaoe score",
        "it is one of deltaoe tune",
    ),
    "[scor]\nalpha = 1": ("deltaoe.toml: scor is no option of any command", "did you mean score?"),
    "[store.infos]\njson = true": ("deltaoe.toml: [store] infos is no option of deltaoe store", "mean info?"),
    "inputs = 'x'": ("deltaoe.toml: inputs is no option of any command", "own names"),
    "[demo]\nseed = 2": ("deltaoe.toml: demo is no option of any command",),
    "workspace = 'x'": ("deltaoe.toml: workspace cannot be set here", "DELTAOE_WORKSPACE"),
    "shots = 'four'": ('deltaoe.toml: shots must be a whole number, not "four"',),
    "shots = 4.5": ("deltaoe.toml: shots must be a whole number, not 4.5",),
    "shots = true": ("deltaoe.toml: shots must be a whole number, not true",),
    "alpha = '0.1'": ('deltaoe.toml: alpha must be a number, not "0.1"',),
    "offline = 1": ("deltaoe.toml: offline must be true or false, not 1",),
    "model = 16": ("deltaoe.toml: model must be a text in quotation marks, not 16",),
    "workers = 'many'": ('deltaoe.toml: workers must be a whole number or "auto", not "many"',),
    "evidence = 'both sides'": ('deltaoe.toml: evidence must be one of "auto", "text"',),
    "report = [1]": ("deltaoe.toml: report must be a list of texts, not [1]",),
    "top-c = 1\ntop_c = 2": ("deltaoe.toml: top_c is there twice",),
    "alpha = 1979-05-27": ("deltaoe.toml: alpha must be a number, not 1979-05-27",),
    "alpha =": ("cannot read deltaoe.toml: Invalid value",),
    "shots = 0x" + 5000 * "f": (
        "deltaoe.toml: shots must be a whole number of at most 64 bits",
        "20000 bits",
    ),
    "report = 0x" + 5000 * "f": ("deltaoe.toml: report must be a list of texts, not a number of 20000 bits",),
    'vocabulary = "a\\u0000b"': ("deltaoe.toml: vocabulary must be a text without NUL",),
    'out = "a\\u0000b"': ("deltaoe.toml: out must be a text without NUL",),
    'model = "local-dir:a\\u0000b"': ("deltaoe.toml: model must be a text without NUL",),
    'domain = ["a\\u0000b"]': ("deltaoe.toml: domain must be",),
}


@pytest.mark.parametrize("text", REFUSED)
def test_an_entry_that_cannot_be_right(text: str, tmp_path: Path, fails: Fails) -> None:
    Path("deltaoe.toml").write_text(text)
    fails("store", "info", cwd=tmp_path, rc=2, says=REFUSED[text])  # whatever the command is


def test_a_file_that_cannot_be_read(tmp_path: Path, fails: Fails) -> None:
    Path("deltaoe.toml").write_bytes(b"model = '\xff'")
    fails("store", "info", cwd=tmp_path, rc=2, says=("cannot read deltaoe.toml: 'utf-8' codec",))
    Path("deltaoe.toml").unlink()
    Path("deltaoe.toml").mkdir()  # nor is it passed over
    fails("store", "info", cwd=tmp_path, rc=2, says=("cannot read deltaoe.toml: is no file",))
    Path("deltaoe.toml").rmdir()
    Path("deltaoe.toml").symlink_to("nowhere")
    fails("store", "info", cwd=tmp_path, rc=2, says=("cannot read deltaoe.toml: is no file",))
    Path("deltaoe.toml").unlink()
    Path("deltaoe.toml").write_bytes(b"\xef\xbb\xbfalpha = 0.2\r\n")  # as Notepad saves it
    assert parsed(("score",))[0]["alpha"] == 0.2
    Path("deltaoe.toml").unlink()
    Path("pyproject.toml").write_text("[tool.deltaoe.score]\nalfa = 1")
    says = ("pyproject.toml: [tool.deltaoe.score] alfa is no option of deltaoe score",)
    fails("tune", cwd=tmp_path, rc=2, says=says)
    Path("pyproject.toml").write_text("[tool.deltaoe\nalpha = 1")
    fails("tune", cwd=tmp_path, rc=2, says=("cannot read pyproject.toml: ",))
    Path("pyproject.toml").write_text("{% a template %}")  # no business of ours
    assert parsed(("score",))[0]["alpha"] == 0.05
    Path("pyproject.toml").write_text("[tool]\ndeltaoe = 1")
    fails("tune", cwd=tmp_path, rc=2, says=("pyproject.toml: deltaoe is not a table",))


def test_a_value_out_of_range_says_where_it_is_set(tmp_path: Path, run: Run, fails: Fails) -> None:
    says = ("--alpha must be above 0 and below 1, not 7.0", "--alpha is set by DELTAOE_ALPHA")
    fails("score", "x", cwd=tmp_path, rc=2, says=says, env={"DELTAOE_ALPHA": "7"})
    says = ("--alpha: ", "'much'", "--alpha is set by DELTAOE_ALPHA")
    fails("score", "x", cwd=tmp_path, rc=2, says=says, env={"DELTAOE_ALPHA": "much"})
    Path("deltaoe.toml").write_text("alpha = 7")
    says = ("--alpha must be above 0 and below 1, not 7.0", "--alpha is set in deltaoe.toml")
    fails("score", "x", cwd=tmp_path, rc=2, says=says)
    done = run("score", "x", "--alpha", "8", cwd=tmp_path, rc=2)
    assert "deltaoe.toml" not in done.stderr


def test_what_the_file_sets_is_said_in_one_line(project: Path, run: Run) -> None:
    (project / "deltaoe.toml").write_text(
        'alpha = 0.25\nshots = 4\n[score]\nevidence = "text"\nmodel = "none"\n'
    )
    done = run("score", "unknown", "--json", "--evidence", "both", cwd=project)
    assert (done.json["alpha"], done.json["evidence"]) == (0.25, "text and images")
    assert (
        done.stderr.splitlines()[0] == "defaults: deltaoe.toml (alpha)"
    )  # neither a flag's nor a variable's
    assert run("score", "unknown", "--json", "-q", "--evidence", "both", cwd=project).stderr == ""
    done = run("store", "info", cwd=project)
    assert "defaults" not in done.stderr


def test_a_variable_of_no_option_is_said(tmp_path: Path, run: Run) -> None:
    done = run("store", "info", cwd=tmp_path, env={"DELTAOE_SHOT": "4", "DELTAOE_SHOTS": "4"})
    assert done.stderr.splitlines()[0] == "warning: DELTAOE_SHOT sets no option; did you mean DELTAOE_SHOTS?"


def test_help_needs_no_file_and_shows_no_variables(tmp_path: Path, run: Run) -> None:
    Path("deltaoe.toml").write_text("nonsense")
    for words in (("score",), ("store", "info")):
        text = run(*words, "--help", cwd=tmp_path).stdout
        assert "DELTAOE_" not in text and "--no-json" not in text
    assert "DELTAOE_SHOTS" in run("--help", cwd=tmp_path).stdout


def test_quiet(project: Path, fails: Fails, run: Run) -> None:
    def both(*words: str) -> tuple[str, str]:
        done = run(*words, cwd=project)
        return done.stdout, done.stderr

    before = contents(project)
    (project / "images" / "broken.png").write_bytes(b"no picture")
    assert both("extract", "images", "--quiet") == ("", "")
    assert contents(project) != before
    out, err = both("tune", "--shots", "4", "--epochs", "2", "-q")
    assert "calibrate" in out and err == ""  # its sentences are the result
    assert both("score", "unknown", "--report", "html", "-q", "--out", "found") == ("", "")
    assert {path.name for path in (project / "found").iterdir()} >= {"scores.csv", "report.html"}
    loud = json.loads(both("extract", "images", "--json")[0])
    out, err = both("extract", "images", "--json", "-q")
    assert (json.loads(out), err) == (loud, "")
    assert "precision" in both("store", "info", "-q")[0]  # the table is the result
    assert both("store", "export", "some.npz", "-q") == ("", "")
    fails("score", "nowhere", "-q", cwd=project, says=("nowhere",))
    done = run("score", "unknown", cwd=project, env={"DELTAOE_QUIET": "1"})
    assert done.stderr == ""


def test_quiet_and_verbose_exclude_each_other() -> None:
    from deltaoe_cli.output import Screen

    with pytest.raises(ConfigError, match="--quiet and --verbose"):
        Screen(quiet=True, verbose=True)


def test_every_command_can_be_quiet() -> None:
    for words, command in COMMANDS.items():
        (quiet,) = (one for one in command.options if flag(one) == "quiet")
        assert quiet.opts == ["--quiet", "-q"], words
