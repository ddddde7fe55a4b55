"""Figure E.2 of measurements that are known beforehand."""
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from helpers.figure_rows import assert_nothing_overlaps
from figures import figE2, plotting, results

DENSE = "digits[network=dense,seed={}]"
TINY = "digits[jacobian_weight=1.0,network=tiny,seed={}]"
FREE = "digits[jacobian_weight=0.0,network=tiny,seed={}]"
COSINES = {"Jacobian-Free": 0.5, "SHINE": 0.8, "SHINE-OPA": 0.99, "My": 0.9}


def row(dataset, state, solver, batch, cosine, **changes):
    return {
        "dataset": dataset, "state": state, "solver": solver,
        "fingerprint": "abc", "batch": batch, "cosine": cosine,
        "ratio": 1.25, "rel_error": 0.25, "sample_cosine_q1": cosine - 0.1,
        "sample_cosine_median": cosine, "sample_cosine_q3": cosine + 0.01,
        "forward_residual": 2e-3, "spectral_radius_median": 0.7,
        "spectral_radius": 0.8 + batch / 10, "reference_converged": True,
        "n_g": 23, "n_jvp": 0, "test_accuracy": 0.5,
    } | changes


def measurements():
    """Two seeds of a network, three batches each, in both states."""
    rows = [
        row(DENSE.format(seed), state, solver, batch,
            cosine - 0.001 * batch, ratio=1.1 + 0.2 * batch)
        for seed in (0, 1) for state in figE2.STATES for batch in range(3)
        for solver, cosine in COSINES.items()
    ]
    return pd.DataFrame(rows)


def odd_measurements():
    """Another network: no exact q, all cosines, a q that is not finite."""
    return pd.DataFrame([
        row(TINY.format(0), "trained", "SHINE", 0, -0.5,
            reference_converged=False, ratio=70.0),
        row(TINY.format(0), "trained", "SHINE", 1, 1 - 1e-9, ratio=0.5),
        row(TINY.format(0), "trained", "HOAG", 0, np.nan, ratio=np.nan),
    ])


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "dense.csv"
    measurements().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def drawn(good, tmp_path_factory):
    odd = tmp_path_factory.mktemp("drawn") / "tiny.csv"
    # files of the present have the products under their present name
    odd_measurements().rename(columns={"n_jvp": "n_vjp"}).to_csv(
        odd, index=False)
    return figE2.draw(results.read_inputs([good, odd]))


def panels(figure):
    return {ax.get_title(): ax for ax in figure.axes}


def points(ax, solver):
    """Filled and hollow points of a solver, (n, 2) each."""
    label, colour, _ = figE2.look_of(solver)
    own = [
        c for c in ax.collections
        if c.get_label() != label and len(c.get_edgecolors())
        and to_hex(c.get_edgecolors()[0]) == colour.lower()
    ]
    filled, hollow = (
        np.concatenate([
            np.asarray(c.get_offsets()) for c in own
            if bool(len(c.get_facecolors())) == full
        ]) for full in (True, False)
    )
    return filled, hollow


def test_points_are_the_batches(drawn):
    ax = panels(drawn.figures[""])["dense, digits, trained"]
    for solver, cosine in COSINES.items():
        filled, hollow = points(ax, solver)
        expected = [
            (1 - cosine + 0.001 * batch, 1.1 + 0.2 * batch)
            for batch in range(3)
        ] * 2
        np.testing.assert_allclose(sorted(filled.tolist()), sorted(expected))
        assert not len(hollow)
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_without_an_exact_q_points_are_hollow(drawn):
    ax = panels(drawn.figures[""])["tiny, digits, trained"]
    filled, hollow = points(ax, "SHINE")
    np.testing.assert_allclose(hollow, [[1.5, 70]])
    # what is nearer to 1 than the axis goes is drawn at its end
    np.testing.assert_allclose(filled, [[1e-4, 0.5]])


def test_the_cosine_rises_to_the_right_and_all_points_are_inside(drawn):
    for ax in panels(drawn.figures[""]).values():
        left, right = ax.get_xlim()
        low, high = ax.get_ylim()
        assert left > 1.5 > 1e-4 > right  # a cosine of -0.5 in one panel
        for collection in ax.collections:
            for x, y in np.asarray(collection.get_offsets()):
                assert np.isnan([x, y]).any() or (
                    right < x < left and low < y < high
                )


def test_the_axis_begins_at_zero_where_no_cosine_is_below(good):
    figure = figE2.plot(figE2.read_alignment([good]), "")
    for ax in figure.axes:
        assert 1 < ax.get_xlim()[0] < 1.5


@pytest.mark.parametrize("ratios, ticks", [
    ((1.0, 1.2), "1 1.1 1.2"), ((0.9, 2.9), "1 2"), ((0.3, 70), "1 10"),
    ((0.999, 1.001), "1"), ((2.0,), "1 2"), ((1.0,), "1"),
])
def test_ratios_have_ticks_whatever_their_range(ratios, ticks):
    frame = pd.DataFrame([
        row(DENSE, "initial", "SHINE", i, 0.9, ratio=ratio)
        for i, ratio in enumerate(ratios)
    ]).assign(network="dense")
    with plotting.paper_style():
        figure = figE2.plot(frame, "")
    shown = {text.get_text() for text in figure.axes[0].get_yticklabels()}
    assert set(ticks.split()) <= shown


def test_legend_has_every_method_once(drawn):
    legend, = drawn.figures[""].legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert sorted(texts) == sorted(figE2.look_of(s)[0] for s in (
        *COSINES, "HOAG",
    ))
    for handle in legend.legend_handles:  # filled, though points may not be
        assert len(handle.get_facecolors())


def test_the_picture_is_whole_and_states_its_seeds(drawn):
    figure = drawn.figures[""]
    with plotting.paper_style():
        assert_nothing_overlaps(figure)
    told = figure._suptitle.get_text().replace("\n", " ")
    assert "of 1 to 2 seeds of each network" in told
    assert "The paper's MDEQ (LARGE) on CIFAR-10 is not among" in told


def test_tables(drawn):
    text = re.sub(" +", " ", drawn.tables[""])  # columns are padded
    assert "From dense.csv, tiny.csv, package abc." in text
    assert "| dense, digits | initial | 50.0 % | 0.70 | 1.00 |" in text
    lines = [line for line in text.splitlines() if "| trained |" in line]
    methods = [line.split(" | ")[2] for line in lines[2:]]
    assert methods == [
        "Jacobian-free", "SHINE, Broyden", "SHINE-OPA, transposed", "My",
        "SHINE, Broyden", "original (Broyden)",
    ]
    assert (
        "| dense, digits | trained | SHINE-OPA, transposed | 0.989 | "
        "0.889 / 0.989 / 0.999 | 1.30 | 0.250 | 2e-03 | 23 | 0 | 6 of 6 |"
    ) in lines
    assert lines[-2].endswith("| 1 of 2 |")


def test_variants_of_a_network_are_told_apart():
    titles = figE2.titles_of([name.format(0) for name in (DENSE, TINY, FREE)])
    assert list(titles.values()) == [
        "dense, digits", "tiny, digits (jacobian_weight=1.0)",
        "tiny, digits (jacobian_weight=0.0)",
    ]


def test_versions_of_the_package_are_not_mixed_in_silence(good, tmp_path):
    other = tmp_path / "other.csv"
    measurements().assign(fingerprint="def").to_csv(other, index=False)
    assert not figE2.draw(results.read_inputs([good])).warnings
    warning, = figE2.draw(results.read_inputs([good, other])).warnings
    assert "abc, def" in warning
