"""Types of the architectures' arguments, and validation of arguments that come from a file."""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError, create_model

from regzoo.errors import ModelError
from regzoo.sections import problems

#: A length, width, or number of outputs.
Size = Annotated[int, Field(gt=0, le=2**20)]
#: A number of layers, blocks or heads.
Count = Annotated[int, Field(gt=0, le=512)]
#: A dropout probability.
Fraction = Annotated[float, Field(ge=0, lt=1)]
Sizes = Annotated[Sequence[Size], Field(min_length=1, max_length=32)]
Two = Annotated[Sequence[Size], Field(min_length=2, max_length=2)]
Three = Annotated[Sequence[Size], Field(min_length=3, max_length=3)]

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def check_arguments(function: Callable[..., Any], arguments: dict[str, Any], what: str) -> None:
    """Validate arguments against a function's annotations. Values are not converted.

    Parameters
    ----------
    function : callable
        All of its parameters must be annotated.
    arguments : dict
    what : str
        Description of the function, for error messages.

    Raises
    ------
    ModelError
        If an argument is unknown, missing, or does not match its annotation.
    """
    parameters = inspect.signature(function).parameters.values()
    fields: dict[str, Any] = {p.name: (p.annotation, ... if p.default is p.empty else p.default) for p in parameters}
    try:
        create_model("Arguments", __config__=_STRICT, **fields).model_validate(arguments)
    except ValidationError as error:
        raise ModelError(f"{what}: {problems(error, fields)}") from error
