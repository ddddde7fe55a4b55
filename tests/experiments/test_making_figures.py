"""Figures from nothing: what is run, and which file is drawn."""
import importlib
from pathlib import Path

import pytest

from experiments import figures
from experiments.figures import RECIPES, SCALES, Failed, main


class Calls(list):
    """Commands, noted in place of being run."""

    fails = ()  # modules, or commands of benchopt, that do

    def measure(self, module, *words):
        self(*words, module=module)

    def __call__(self, *words, module="benchopt"):
        module = module.removesuffix(".__main__")
        self.append((module, *map(str, words)))
        if "--output" in words:
            Path(words[-1]).write_text(f"{len(self)}")
        if module in self.fails or words[0] in self.fails:
            raise Failed(module)

    def of(self, module):
        return [words for name, *words in self if name == module]


@pytest.fixture
def calls(monkeypatch):
    calls = Calls()
    monkeypatch.setattr(figures, "call", calls)
    monkeypatch.setattr(figures, "measure", calls.measure)
    return calls


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", RECIPES)
def test_what_a_figure_is_drawn_from_exists(
    name, scale, calls, tmp_path, root_dir
):
    assert main([name, "--scale", scale, "--output-dir", str(tmp_path)]) == 0
    drawn, *_ = calls.of("figures")
    assert drawn[0] == name
    files = [w for w in drawn if w.endswith((".parquet", ".csv"))]
    assert files and all(Path(file).is_file() for file in files)
    for module, *words in calls:
        if "--config" in words:
            config = words[words.index("--config") + 1]
            assert (root_dir / config).is_file()
        if module.startswith("experiments."):
            experiment = importlib.import_module(module)
            if module == "experiments.deq_inversion":
                assert scale in experiment.SETTINGS[words[0]]


def test_what_was_just_run_is_drawn_and_what_was_there_is_kept(
    calls, tmp_path
):
    result = tmp_path / "fig1_quick.parquet"
    result.write_text("before")
    main(["fig1", "--output-dir", str(tmp_path)])
    assert result.read_text() == "2"
    before = tmp_path / "fig1_quick.previous.parquet"
    assert before.read_text() == "before"
    assert set(tmp_path.iterdir()) == {result, before}
    for words in calls.of("figures"):
        assert str(result) in words


def test_data_that_come_with_the_suite_are_not_fetched(calls, tmp_path):
    main(["quickstart", "fig1", "--output-dir", str(tmp_path)])
    prepared, = [words for _, *words in calls if words[0] == "prepare"]
    assert "configs/fig1_quick.yml" in prepared


@pytest.mark.parametrize("name, data", [
    ("figE2", "cifar10"), ("backward_times", "cifar10"), ("cost", "cifar10"),
    ("error_against_cost", "20news"), ("theory", None),
])
def test_data_of_experiments_are_fetched_at_full_scale(
    name, data, calls, tmp_path
):
    calls.fails = ("prepare",)  # which says why, and so does the experiment
    main([name, "--output-dir", str(tmp_path)])
    assert not [words for _, *words in calls if words[0] == "prepare"]
    words = [name, "--scale", "paper", "--output-dir", str(tmp_path)]
    assert main(words) == 0
    prepared = [words for _, *words in calls if words[0] == "prepare"]
    assert prepared == ([["prepare", ".", "-d", data]] if data else [])


def test_what_had_finished_before_a_failure_is_kept(calls, tmp_path, capsys):
    calls.fails = ("run",)
    assert main(["fig1", "figE2", "--output-dir", str(tmp_path)]) == 1
    assert (tmp_path / "fig1_quick.parquet").read_text() == "2"
    assert [words[0] for words in calls.of("figures")] == ["figE2"]
    assert capsys.readouterr().err == "error: benchopt\n"


def test_an_earlier_file_comes_back_where_there_is_no_new_one(
    calls, tmp_path, monkeypatch
):
    def fails(*words, module=""):
        raise Failed("benchopt")

    result = tmp_path / "fig1_quick.parquet"
    result.write_text("before")
    monkeypatch.setattr(figures, "call", fails)
    assert main(["fig1", "--output-dir", str(tmp_path)]) == 1
    assert [*tmp_path.iterdir()] == [result]
    assert result.read_text() == "before"


def test_a_run_is_told_the_name_that_its_file_keeps(calls, tmp_path):
    """benchopt's last line names the file, for the next command."""
    for _ in range(2):
        main(["fig1", "--output-dir", str(tmp_path)])
    told = {words[-1] for _, *words in calls if words[0] == "run"}
    assert told == {str(tmp_path / "fig1_quick.parquet")}


def test_missing_data_are_left_to_the_run(calls, tmp_path):
    calls.fails = ("prepare",)
    assert main(["fig1", "--output-dir", str(tmp_path)]) == 0


def test_it_says_what_to_do_next(calls, tmp_path, capsys):
    folder = tmp_path / "my outputs"
    main(["fig2", "--output-dir", str(folder)])
    said = capsys.readouterr().out
    assert (f"make report RESULT=\"'{folder}/fig2_quick.parquet' "
            f"'{folder}/fig2_inversion.csv'\"") in said
    assert f'make league RESULT="{folder}/fig2_quick.parquet"' in said


@pytest.mark.parametrize("words, told", [
    (("run", ".", "--config", "no_such"), "^benchopt run .* with status 1$"),
    (("run", ".", "--no-such"), "No such option"),
])
def test_a_command_that_fails_is_named(words, told):
    with pytest.raises(Failed, match=told):
        figures.call(*words)


def test_a_table_that_fails_is_named(tmp_path):
    file = tmp_path / "no_such.parquet"
    with pytest.raises(Failed, match="^figures league .* with status 2$"):
        figures.call("league", file, module=figures.DRAWING)


def test_an_experiment_that_fails_is_named():
    with pytest.raises(Failed, match="^no_such: failed with status 1$"):
        figures.measure("no_such")


def test_an_interruption_ends_all(monkeypatch):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchopt.cli.main.Benchmark", interrupted)
    with pytest.raises(KeyboardInterrupt):
        figures.call("run", ".", "--no-plot")
