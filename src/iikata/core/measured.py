"""Numbers of records as their files hold them, and that a record's file has its fields and no others."""

import math
from collections.abc import Callable
from typing import Annotated, Any


class NullIsNaN:
    """JSON has no NaN: a null in a file is one."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core.core_schema import no_info_before_validator_function

        return no_info_before_validator_function(lambda seen: math.nan if seen is None else seen, handler(source))


Measured = Annotated[float, NullIsNaN]
EXACT = {"extra": "forbid"}
"""A record that is read from a file has these fields and no others."""
