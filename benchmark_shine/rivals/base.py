"""Methods of other libraries, each imported where it is used.

A library that is missing costs no other method: its solver says what to
install, see `benchmark_shine.bench.lifecycle`.
"""


def of_kind(table, problem, library):
    """Look up a problem's class in a table.

    Raises
    ------
    ValueError
        Where the table lacks the class, or the problem's losses are means;
        the message names the library.
    """
    if type(problem) not in table:
        raise ValueError(
            f"{library}: no model here for {type(problem).__name__}"
        )
    if getattr(problem, "losses", "sum") != "sum":
        raise ValueError(
            f"{library}: its losses are sums here; take losses=sum"
        )
    return table[type(problem)]
