"""What a command line owes its user: streams, exit codes, help at once, and the nearest word for a wrong one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from command import COMMAND, Fails, Run, environment

pytestmark = pytest.mark.slow
COMMANDS = ("extract", "tune", "score")
# Does what the entry point does, and says which slow modules came along.
PROBE = """
import sys
slow = {"torch", "open_clip", "faiss", "h5py", "numpy", "PIL", "sklearn"}
sys.argv = ["deltaoe", *sys.argv[1:]]
from deltaoe_cli.main import main
try:
    main()
finally:
    print(*sorted(slow & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        *((name, "--help") for name in COMMANDS),
        *(("store", name, "--help") for name in ("info", "verify", "compact", "export", "import")),
        ("store", "--help"),
        ("--version",),
    ],
)
def test_help_loads_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PROBE, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment(None), capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "\n")
    assert "deltaoe" in done.stdout


def test_help(tmp_path: Path, run: Run) -> None:
    for name in COMMANDS:
        text = run(name, "--help", cwd=tmp_path).stdout
        assert text == run(name, "-h", cwd=tmp_path).stdout
        assert f"Usage: deltaoe {name} [OPTIONS]" in text
        assert "Examples" in text and f"deltaoe {name} " in text.split("Examples")[1]
        assert "\x1b" not in text and "[bold]" not in text
        assert max(map(len, text.splitlines())) <= 80
    text = run("--help", cwd=tmp_path).stdout
    assert all(f"│ {name} " in text for name in COMMANDS)
    assert run(cwd=tmp_path, rc=2).stdout.strip() == text.strip()  # nothing to do is no success
    assert not list(tmp_path.iterdir())


def test_version(tmp_path: Path, run: Run) -> None:
    text = f"deltaoe {version('deltaoe')}\n"
    assert run("--version", cwd=tmp_path).stdout == text
    module = [sys.executable, "-m", "deltaoe_cli", "--version"]
    assert subprocess.run(module, cwd=tmp_path, capture_output=True, text=True).stdout == text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("extrct", "images"), ("No such command 'extrct'", "extract")),
        (("tune", "--shot", "4"), ("No such option: --shot", "--shots")),
        (("score", "x", "--detektor", "y"), ("No such option: --detektor", "--detector")),
        (("score", "x", "--shots", "4"), ("No such option: --shots",)),
    ],
)
def test_nearest_word(
    arguments: tuple[str, ...], says: tuple[str, ...], tmp_path: Path, fails: Fails
) -> None:
    fails(*arguments, cwd=tmp_path, rc=2, says=says)


def test_streams_and_exit_codes(project: Path, run: Run) -> None:
    (project / "unknown" / "red_stripes").rename(project / "unknown" / "rayé_赤")
    extracted = run("extract", "unknown", "--json", cwd=project)
    assert extracted.json["images_per_class"] == {"noise": 3, "rayé 赤": 3}
    assert extracted.stdout.isascii()
    assert re.match(r"Loading model .*\nEncoding images 6/6 ", extracted.stderr)
    tuned = run("tune", "--data", "images", "--shots", "2", "--epochs", "2", "--json", cwd=project)
    assert tuned.json["shots"] == 8
    assert re.search(
        r"^Tuning, class prompts 2/2  accuracy \S+  CE \S+  EBM \S+  E2≤E1 \S+$", tuned.stderr, re.MULTILINE
    )
    scored = run("score", "unknown", "--alpha", "0.9", "--json", "--fail-on-unknown", cwd=project, rc=3)
    assert scored.json["counts"]["unknown"] > 0
    assert "Scoring 6/6" in scored.stderr
    people = run("score", "unknown", "--alpha", "0.02", "--fail-on-unknown", cwd=project)
    assert people.stdout.startswith("Scored unknown") and people.stderr == "Scoring 6/6\n"
    assert re.search(r"^ csv +scores\.csv\s*$", people.stdout, re.MULTILINE)
    for done in (extracted, tuned, scored, people):
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_terminals_that_cannot_spell_it(project: Path, run: Run, encoding: str) -> None:
    env = {"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    run("score", "--help", cwd=project, env=env)
    done = run("score", "unknown", "--zero-shot", "--labels", os.devnull, cwd=project, env=env, rc=2)
    assert "holds no labels" in done.stderr
    done = run("score", "images", "--verbose", cwd=project, env=env)
    assert "fused score \\u2265 " in done.stdout and "\\u0394Energy" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="closed streams of POSIX")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["score --stream", "score - --json", "extract images", "store info"])
def test_streams_that_the_caller_has_closed(project: Path, words: str, closed: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" {words} {closed}', COMMAND],
        cwd=project,
        env=environment(None),
        input=b"unknown/noise/0.png\n",
        capture_output=True,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    nothing_to_read = words == "score - --json" and "<&-" in closed
    assert done.returncode == (1 if nothing_to_read else 0)


def test_completion(tmp_path: Path, run: Run) -> None:
    script = run(
        "--show-completion", "bash", cwd=tmp_path, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert "complete -o default -F _deltaoe_completion deltaoe" in script.stdout

    def complete(words: str) -> list[str]:
        env = {
            "_DELTAOE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        return run(cwd=tmp_path, env=env).stdout.split()

    assert complete("deltaoe ex") == ["extract"]
    assert set(complete("deltaoe tune --ebm")) == {"--ebm-weight", "--ebm-temperature"}
    assert complete("deltaoe score x --report ") == ["html", "json"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_reader_that_leaves_and_disk_that_is_full(project: Path, tiny_model: Path, run: Run) -> None:
    for extra in ((), ("--json",)):
        process = subprocess.Popen(
            [COMMAND, "score", "images", *extra],
            cwd=project,
            env=environment(tiny_model),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        # The warning says that these images are the detector's own.
        assert [line[:13] for line in err.splitlines()] == [b"Scoring 96/96", b"warning: All "]
    if Path("/dev/full").exists():
        with open("/dev/full", "wb") as full:
            command = [COMMAND, "score", "images", "--json"]
            done = subprocess.run(
                command, cwd=project, env=environment(tiny_model), stdout=full, stderr=subprocess.PIPE
            )
        assert done.returncode == 1
        assert b"error: " in done.stderr and b"No space left on device" in done.stderr
        assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


def on_a_terminal(arguments: list[str], cwd: Path, env: dict[str, str]) -> tuple[int, str]:
    """Run the command with a pseudo-terminal for all three streams; return exit code and all that was drawn."""
    import pty

    process, terminal = pty.fork()
    if process == 0:
        os.chdir(cwd)
        os.execve(COMMAND, [str(COMMAND), *arguments], env)  # noqa: S606 - the child has a terminal already
    drawn = b""
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        drawn += part
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), drawn.decode("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_live_line_on_a_terminal(project: Path, tiny_model: Path) -> None:
    env = environment(tiny_model) | {"TERM": "xterm", "COLUMNS": "120"}
    tune = ["tune", "--shots", "4", "--epochs", "300"]
    rc, drawn = on_a_terminal(tune, project, env)
    assert rc == 0
    plain = re.sub(r"\x1b\[[0-9;?]*\w", "", drawn).splitlines()
    shape = re.compile(r"Tuning, class prompts .* (\d+)/300 .* CE (\S+)  EBM (\S+)  E2≤E1 (\S+)")
    lines = [match.groups() for line in plain if (match := shape.match(line))]
    assert len({step for step, *_ in lines}) > 1
    assert all(0 <= float(share) <= 1 and float(ce) > 0 and float(ebm) > 0 for _, ce, ebm, share in lines)
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1  # the cursor comes back

    rc, drawn = on_a_terminal(["score", "images", "-v"], project, env | {"NO_COLOR": "1"})
    assert rc == 0 and "ΔEnergy" in drawn
    assert not re.search(r"\x1b\[(3|4|9|10)\d", drawn)  # no colours; cursor moves may stay
