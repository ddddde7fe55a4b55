"""Stand-ins for the league's problems, whose numbers are known beforehand."""
from types import SimpleNamespace

import pandas as pd

from figures.tables import league


def problem(numbers, dataset="toy", protocol="fair", family=league.BILEVEL):
    """A data set of the league: number by quantity, method and seed."""
    frame = pd.DataFrame({
        quantity: pd.Series({
            (dataset, protocol, method, seed): x
            for method, own in of.items() for seed, x in enumerate(own)})
        for quantity, of in numbers.items()
    })
    frame.index.names = ["dataset", "protocol", "method", "seed"]
    return SimpleNamespace(
        dataset=dataset, protocols=[protocol], family=family, numbers=frame,
        unranked="")
