"""Data frames, and the one message for whoever lacks the extra that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

INSTALL = "install it with: pip install 'ullage[notebook]'"


def lacking(what: str, package: str) -> ImportError:
    """The error for something that needs a package of the extra `notebook`, which is not installed.

    >>> print(lacking("to_frame()", "pandas"))
    to_frame() needs pandas; install it with: pip install 'ullage[notebook]'
    """
    return ImportError(f"{what} needs {package}; {INSTALL}")


def frame(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a data frame with these columns, also where there are no rows; whole numbers stay whole beside None (Int64).

    Raises ImportError without pandas.

    >>> frame([{"gpu": 0, "free_mib": 512}], ("gpu", "free_mib")).shape
    (1, 2)
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise lacking("to_frame()", "pandas") from error
    found = pd.DataFrame.from_records([dict(row) for row in rows], columns=list(columns))
    whole = [column for column in columns if _whole_beside_none([row[column] for row in rows])]
    return found.astype(dict.fromkeys(whole, "Int64"))


def _whole_beside_none(values: Sequence[object]) -> bool:
    given = [value for value in values if value is not None]
    return 0 < len(given) < len(values) and all(type(value) is int for value in given)
