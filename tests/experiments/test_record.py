"""The record: its plan, its pieces, what an interruption leaves, its page."""
import asyncio
import fcntl
import os
import signal
import threading
from textwrap import dedent

import pandas as pd
import pytest
import yaml
from benchopt.results.parquet import to_parquet

from benchmark_shine.fingerprints import fingerprint
from experiments import entries, ledger, record
from experiments.entries import (
    BadEntry, Drawing, Entry, Record, Runs, listed, named, parts_of,
    read_record,
)
from experiments.ledger import Ledger
from figures.results import read_parquet, settings_of
from helpers import figure_rows

TOY = {
    "objective": [{"outer-loss": {"n_outer": 30}}],
    "dataset": [{"toy": {"seed": [0, 1, 2]}}, {"news": {"groups": [1, 2]}}],
    "solver": [
        "TPE", {"SHINE": {"protocol": ["fair", "hoag"]}},
        {"HOAG": {"protocol, figure": [["fair", None], ["hoag", "fig2"]]}},
    ],
    "n-jobs": 2, "timeout": "1h",
}
# Stands for benchopt and for an experiment, called stub.
STUB = """
import os, pathlib, shutil, signal, subprocess, sys
here, words = pathlib.Path(__file__).parent, sys.argv[1:]
name = " ".join(words[:1])
if name == "prepare":
    sys.exit(1)
output = pathlib.Path(words[words.index("--output") + 1])
piece = output.parent.name.rpartition("-")[0]
with open(here / "begun", "a") as file:
    print(piece, os.environ["OMP_NUM_THREADS"], file=file)
if (here / "alive").exists():
    alive = os.open(here / "alive", os.O_WRONLY)
    child = [sys.executable, "-c", "import signal; signal.pause()"]
    subprocess.Popen(child, pass_fds=[alive])
    os.write(alive, b"x")
    signal.pause()
print("a word")
if not (here / piece).exists():
    sys.exit(f"{piece}: no such data")
shutil.copy(here / piece, output)
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite of one configuration, whose commands are stubs."""
    home = tmp_path / "suite"
    (home / "configs").mkdir(parents=True)
    (home / "configs" / "toy.yml").write_text(yaml.safe_dump(TOY))
    for name in "benchopt", "stub":
        (home / f"{name}.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", str(home))
    monkeypatch.setattr(entries, "ROOT", home)
    entries._configuration.cache_clear()
    entries._hash_of.cache_clear()
    yield home
    entries._configuration.cache_clear()
    entries._hash_of.cache_clear()


TOYS = Entry("toys", 3.0, (Runs("toy", ("toy",)),), files=("toys.parquet",))
TABLE = Entry("table", 1.0, command="stub --output {folder}/table.csv",
              files=("table.csv",))


def call(monkeypatch, tmp_path, *listed, words=()):
    """Make a record of some entries; return the exit status."""
    monkeypatch.setattr(record, "read_record", lambda: Record(listed))
    return record.main(["--results", str(tmp_path / "results"),
                        "--outputs", str(tmp_path / "outputs"), *words])


def rows_of_piece(path, seed, **columns):
    to_parquet(pd.DataFrame({
        "p_obj_fingerprint": [fingerprint()], "seed": [seed],
    } | {name: [value] for name, value in columns.items()}), path)


def begun(suite):
    """List the pieces that were begun, in order of their names."""
    path = suite / "begun"
    return sorted(path.read_text().split("\n")[:-1]) if path.exists() else []


# The configuration

def test_a_part_of_a_configuration(suite):
    one = Runs("toy", ("toy",), ("hoag",), (7, 8), {"reference": 2}).read()
    assert one == {
        "objective": [{"outer-loss": {"n_outer": 30, "reference": 2}}],
        "dataset": [{"toy": {"seed": [7, 8]}}],
        "solver": [{"SHINE": {"protocol": ["hoag"]}},
                   {"HOAG": {"protocol, figure": [["hoag", "fig2"]]}}],
        "timeout": "1h",
    }
    fair = Runs("toy", protocols=("fair",)).read()
    assert [entries.named(s)[0] for s in fair["solver"]] == [
        "TPE", "SHINE", "HOAG"]
    with pytest.raises(BadEntry, match="toy.yml has no dataset"):
        Runs("toy", ("mnist",)).read()


def test_a_piece_for_each_data_set_and_seed(suite):
    whole = Runs("toy").read()
    parts = dict(parts_of(whole, split=True))
    assert list(parts) == ["toy-0", "toy-1", "toy-2", "news-default"]
    assert parts["toy-1"]["dataset"] == [{"toy": {"seed": [1]}}]
    assert parts["news-default"]["dataset"] == [{"news": {"groups": [1, 2]}}]
    assert list(parts_of(whole, split=False)) == [("all", whole)]


def test_a_piece_is_another_one_once_its_sources_are(suite):
    def names():
        entries._hash_of.cache_clear()
        return {p.folder_name for p in (*TOYS.pieces(), *TABLE.pieces())}

    before = names()
    assert names() == before and len(before) == 4
    (suite / "objective.py").write_text("x = 1")
    assert len(names() & before) == 1  # that of the command
    (suite / "stub.py").write_text("x = 1")
    assert not names() & before


@pytest.mark.parametrize("text, message", [
    ("hours: 1", "a: needs either runs or a command"),
    ("{hours: 1, command: x, runs: [{config: toy}]}", "needs either"),
    ("{hours: 1, command: x, needs: [luck]}", "luck, which is none of gpu"),
    ("{command: x}", "a: .*hours"), ("{hours: 1, commnd: x}", "a: .*commnd"),
    ("{hours: 1, runs: [{confg: toy}]}", "a: .*confg"),
])
def test_what_is_not_understood_is_named(text, message, tmp_path):
    path = tmp_path / "record.yml"
    path.write_text(f"entries:\n  a:\n    {text}\n")
    with pytest.raises(BadEntry, match=message):
        read_record(path)


def test_the_record_names_what_there_is(root_dir):
    known = read_record()
    files = [name for entry in known.entries for name in entry.files]
    assert len(set(files)) == len(files)
    for entry in known.entries:
        assert entry.pieces()
        if entry.command:
            module = root_dir / entry.command.split()[0].replace(".", "/")
            assert module.is_dir() or module.with_suffix(".py").is_file()
    for drawing in known.drawn:
        own = {path.name for path in ledger.inputs_of(drawing)}
        assert own and own <= set(files), drawing


# The plan

def test_the_plan(monkeypatch, tmp_path, suite, capsys):
    rows_of_piece(suite / "toy-1", 1)
    far = Entry("far", 40.0, command="stub", needs=("gpu",))
    lone = Entry("lone", 2.0, command="stub", files=("x.csv",), alone=True)
    monkeypatch.setitem(entries.NEEDS, "gpu", (lambda: False, "a GPU"))
    base = record.folder_of_pieces(tmp_path / "outputs")
    folder = TOYS.pieces()[0].finished_in(base)
    folder.mkdir(parents=True)
    (folder / "seconds").write_text("1800\n")
    assert call(monkeypatch, tmp_path, TOYS, far, lone, words=["--plan"]) == 0
    first, _, *lines = capsys.readouterr().out.splitlines()
    # half an hour a piece, two at a time, and two hours alone
    assert fingerprint() in first and first.endswith("about 2.5 h left")
    assert [line.split() for line in lines] == [
        "toys 1 of 3 1.00".split(), "lone 0 of 1 2.00 alone".split(),
        "left out: make record ENTRY=far, 40 h, needs a GPU".split(),
    ]
    assert begun(suite) == []
    with pytest.raises(SystemExit, match="no entry x; there are toys, far"):
        call(monkeypatch, tmp_path, TOYS, far, words=["x"])


# Work

def test_two_at_a_time_or_alone(suite, tmp_path):
    running, seen, finished = [], [], []

    async def for_a_while(name):
        running.append(name)
        for _ in range(5):  # lets others begin
            await asyncio.sleep(0)
            seen.append(tuple(sorted(running)))
        running.remove(name)

    async def measure(piece):
        await for_a_while(piece.entry.name)
        return piece.entry.name != "b"

    async def prepare(entry):
        await for_a_while("data")

    listed = [Entry(name, 1.0, (Runs("toy"),), alone=name == "b",
                    files=(f"{name}.parquet",)) for name in "abc"]
    work = record.Work(listed, Ledger(tmp_path), tmp_path, measure,
                       finished.append)
    asyncio.run(work.run(prepare))
    both = {names for names in seen if len(names) > 1}
    assert {("a", "a"), ("c", "c")} <= both
    assert both <= {("a", "a"), ("c", "c"), ("a", "data")}
    assert ("b",) in seen
    assert work.failed == ["b"] * 4
    assert finished == []  # nobody has made a folder


def test_it_goes_on_where_a_piece_has_failed(
    monkeypatch, tmp_path, suite, capsys
):
    """Each piece that is there is used, and none is measured again."""
    for seed in 0, 2:
        rows_of_piece(suite / f"toy-{seed}", seed)
    (suite / "table").write_text(f"fingerprint\n{fingerprint()}\n")
    results = tmp_path / "results"
    assert call(monkeypatch, tmp_path, TOYS, TABLE) == 1
    said = capsys.readouterr().out
    assert "toys: toy-1: toy-1: no such data" in said
    assert "toys: toy-1 FAILED; see " in said
    assert "toys: some data are not here" in said  # prepare fails
    assert said.endswith("FAILED: toys\n")
    assert {path.name for path in results.iterdir()} == {
        "table.csv", "record.json"}
    first = ["table 1", "toy-0 1", "toy-1 1", "toy-2 1"]
    assert begun(suite) == first

    rows_of_piece(suite / "toy-1", 1)
    assert call(monkeypatch, tmp_path, TOYS, TABLE) == 0
    assert begun(suite) == sorted([*first, "toy-1 1"])
    joined = read_parquet(results / "toys.parquet")
    assert list(joined["seed"]) == [0, 1, 2]
    known = Ledger.read(results)
    assert known.has(TOYS) and known.has(TABLE)
    assert known.package == fingerprint()
    assert call(monkeypatch, tmp_path, TOYS, TABLE) == 0
    assert len(begun(suite)) == 5

    # a file of another package is not what was asked for
    (results / "table.csv").write_text("fingerprint\nabc\n")
    assert not known.has(TABLE)


@pytest.fixture
def interruptible():
    """A shell lets its background processes ignore Ctrl-C; not this one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_stops_at_once_and_goes_on(monkeypatch, tmp_path, suite, capsys,
                                      interruptible):
    """Both processes end with their children, at Ctrl-C."""
    os.mkfifo(suite / "alive")
    ended = threading.Event()

    def interrupt():
        with open(suite / "alive", "rb", buffering=0) as alive:
            assert alive.read(1) + alive.read(1) == b"xx"
            os.kill(os.getpid(), signal.SIGINT)
            while alive.read(1):
                pass
            ended.set()  # nobody has the other end any more

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    assert call(monkeypatch, tmp_path, TOYS) == 130
    thread.join(timeout=60)
    assert ended.is_set()
    assert begun(suite) == ["toy-0 1", "toy-1 1"]
    assert capsys.readouterr().err.endswith("the same command goes on.\n")

    (suite / "alive").unlink()
    for seed in range(3):
        rows_of_piece(suite / f"toy-{seed}", seed)
    assert call(monkeypatch, tmp_path, TOYS) == 0
    assert begun(suite) == sorted(
        ["toy-0 1", "toy-1 1"] + [f"toy-{seed} 1" for seed in range(3)])
    assert (tmp_path / "results" / "toys.parquet").is_file()


def test_one_call_at_a_time(monkeypatch, tmp_path, suite):
    base = record.folder_of_pieces(tmp_path / "outputs")
    base.mkdir(parents=True)
    with open(base / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="another call works"):
            call(monkeypatch, tmp_path, TOYS)
    assert begun(suite) == []


def test_runs_that_break_inside_of_a_piece_are_named(tmp_path):
    log = "|--A: \x1b[1;32mdone\x1b[0m\n |--B: \x1b[1;31merror\x1b[0m \n"
    (tmp_path / "log").write_text(log + "|--C: \x1b[1;33mskip\x1b[0m\nerror\n")
    piece = entries.Piece(Entry("a", 1.0, (Runs("toy"),)), "x", "")
    assert record.complaints(piece, tmp_path, 0) == ["|--B: error"]
    assert record.complaints(piece, tmp_path, 1)[-1] == "error"


# Files

def test_files_are_joined_whatever_their_columns_hold(tmp_path):
    rows_of_piece(tmp_path / "a", 0, p_solver_x=1, p_solver_y=None, z=True)
    rows_of_piece(tmp_path / "b", 1, p_solver_x=[1, 2], p_solver_y="word")
    rows_of_piece(tmp_path / "c", 2, p_solver_x=None, p_solver_y=2)
    path = tmp_path / "all.parquet"
    ledger.join([tmp_path / name for name in "abc"], path)
    rows = read_parquet(path)
    assert list(rows["seed"]) == [0, 1, 2]
    assert settings_of(rows, "p_solver_") == [
        (("x", 1),), (("x", (1, 2)), ("y", "word")), (("y", "2"),),
    ]
    assert list(rows["z"].isna()) == [False, True, True]


@pytest.mark.parametrize("status, commit", [
    (b"", "abc1234"), (b" M benchmark_shine/engine.py\n", None), (None, None),
])
def test_a_package_that_is_not_committed_has_no_commit(
    status, commit, monkeypatch
):
    said = {"status": status, "log": b"abc1234\n"}
    monkeypatch.setattr(ledger, "git", lambda word, *others: said[word])
    assert ledger.commit_of_package() == commit


def test_the_fingerprints_of_a_file(tmp_path):
    csv, parquet = tmp_path / "a.csv", tmp_path / "a.parquet"
    csv.write_text("fingerprint,x\n0123,1\n0124,2\n")
    rows_of_piece(parquet, 0)
    assert ledger.fingerprints_in(csv) == {"0123", "0124"}
    assert ledger.fingerprints_in(parquet) == {fingerprint()}
    csv.write_text("x\n1\n")
    pd.DataFrame({"x": [1]}).to_parquet(parquet)
    assert ledger.fingerprints_in(csv) == ledger.fingerprints_in(
        parquet) == set()


def test_entries_of_another_machine_are_taken(monkeypatch, tmp_path, suite):
    (suite / "table").write_text(f"fingerprint\n{fingerprint()}\n")
    assert call(monkeypatch, tmp_path, TABLE) == 0
    here = Ledger(tmp_path / "here")
    here.folder.mkdir()
    assert here.take([TOYS, TABLE], tmp_path / "results") == ["table"]
    again = Ledger.read(here.folder)
    assert again.has(TABLE) and not again.has(TOYS)
    assert again.entries["table"]["machine"] == ledger.machine()


def test_what_is_drawn_is_drawn_again_when_its_files_change(
    monkeypatch, tmp_path, capsys
):
    (tmp_path / "results").mkdir()
    path = tmp_path / "results" / "a.parquet"
    figure_rows.save(path, figure_rows.bilevel("SHINE", 0, [1, 0]))
    drawing = Drawing("league results/a.parquet --output-dir results",
                      ("results/league.md",))
    wrong = Drawing("fig9 results/a.parquet", ("results/x.png",))
    later = Drawing("fig1 results/b.parquet", ("results/y.png",))
    known = Record((), (drawing, wrong, later))
    book = Ledger(tmp_path / "results")
    monkeypatch.setattr(record, "digest",
                        lambda one: ledger.digest(one, tmp_path))
    monkeypatch.setattr(record, "draw", lambda one: ledger.draw(one, tmp_path))
    assert record.draw_all(known, book) == [wrong.command]
    assert "invalid choice: 'fig9'" in capsys.readouterr().out
    made = {p.name for p in book.folder.iterdir()}
    assert made == {"a.parquet", "league.md", "record.json"}  # and no CSV
    text = (book.folder / "league.md").read_text()
    assert f"Made by `{drawing.command}`" in text

    drawn = []
    monkeypatch.setattr(record, "draw", drawn.append)
    assert record.draw_all(Record((), (drawing,)), book) == [] and not drawn
    record.draw_all(Record((), (drawing,)), book, again=True)
    assert drawn.pop() == drawing
    figure_rows.save(path, figure_rows.bilevel("SHINE", 0, [2, 0]))
    record.draw_all(Record((), (drawing,)), book)
    assert drawn == [drawing]


# The page

def test_the_page_says_where_each_file_is_from(tmp_path, suite):
    known = Record(
        (TOYS, TABLE), (Drawing("fig1 results/toys.parquet",
                                ("results/fig1.png",)),),
        {"old.csv": "0123456789ab", "speed.txt": "ba9876543210"},
    )
    book = Ledger(tmp_path, "fedcba987654", {"fedcba987654": "abc1234"}, {
        "table": {"stamp": "s", "hours": 1.5, "machine": "a box"},
    })
    (tmp_path / "table.csv").write_text("fingerprint\nfedcba987654\n")
    (tmp_path / "old.csv").write_text("fingerprint\n0123456789ab\n")
    (tmp_path / "speed.txt").write_text("fast\n")
    (tmp_path / "README.md").write_text(dedent("""\
        By hand.
        <!-- record:begin -->
        <!-- record:end -->
    """))
    ledger.write_page(known, book)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("By hand.\n")
    assert "The record is of the package `fedcba987654`." in text
    assert figure_rows.table(text, "commit") == [
        {"fingerprint": "`0123456789ab`", "commit": "`?`"},
        {"fingerprint": "`ba9876543210`", "commit": "`?`"},
        {"fingerprint": "`fedcba987654`", "commit": "`abc1234`"},
    ]
    files = figure_rows.table(text, "made by")
    assert [list(row.values()) for row in files] == [
        ["`old.csv`", "`0123456789ab`", "–", "–", "–"],
        ["`speed.txt`", "`ba9876543210`", "–", "–", "–"],
        ["`table.csv`", "`fedcba987654`", "`make record ENTRY=table`", "1.5",
         "a box"],
    ]
    what = figure_rows.table(text, "entry")
    assert [row["what"] for row in what] == [
        "`configs/toy.yml`, toy",
        "`python -m stub --output outputs/table.csv`",
    ]
    assert record.closing(known, book) == []
    book.package = "0123456789ab"
    assert record.closing(known, book) == [
        "configs/record.yml: old.csv is not older any more",
        "table.csv is of package fedcba987654, and neither of 0123456789ab "
        "nor listed as older",
    ]


def test_committed_rows_are_of_the_entry_s_seeds_and_protocols(root_dir):
    checked = []
    for entry in read_record().entries:
        path = root_dir / "results" / f"{entry.name}.parquet"
        if not entry.runs or not path.exists():
            continue
        rows = pd.read_parquet(path)
        rows["name"] = rows["dataset_name"].str.partition("[")[0]
        for name, its in rows.groupby("name"):
            asked = [
                listed(settings["seed"]) for runs in entry.runs
                for dataset in runs.read()["dataset"]
                for other, settings in [named(dataset)]
                if other == name and "seed" in settings
            ]
            if asked:
                checked.append(name)
                assert set(its["p_dataset_seed"]) == set().union(*asked), path
        protocols = {p for runs in entry.runs for p in runs.protocols}
        if all(runs.protocols for runs in entry.runs):
            found = rows["p_solver_protocol"].dropna()
            assert set(found) == protocols, path
    assert len(checked) > 10
