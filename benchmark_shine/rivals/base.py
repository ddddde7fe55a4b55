"""Rivals from other libraries, each imported where it is used.

A library that is missing costs nobody else: its solver says what to install,
see `benchmark_shine.bench.solver`.
"""


def of_kind(table, problem, library):
    """What a table has for a problem's kind.

    Raises
    ------
    ValueError
        Where it has nothing, naming the library.
    """
    if type(problem) not in table:
        raise ValueError(
            f"{library}: no model here for {type(problem).__name__}"
        )
    return table[type(problem)]
