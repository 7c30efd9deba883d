"""Types of the architectures' arguments, and the check of arguments that come from a file."""

import inspect
from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError, create_model

from regzoo.errors import ModelError
from regzoo.sections import problems

#: Lengths, widths, numbers of outputs.
Size = Annotated[int, Field(gt=0, le=2**20)]
#: Layers, blocks, heads: what is made one by one.
Count = Annotated[int, Field(gt=0, le=512)]
#: Dropout.
Share = Annotated[float, Field(ge=0, lt=1)]
Sizes = Annotated[Sequence[Size], Field(min_length=1, max_length=32)]
Two = Annotated[Sequence[Size], Field(min_length=2, max_length=2)]
Three = Annotated[Sequence[Size], Field(min_length=3, max_length=3)]

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def check_arguments(function, arguments, what):
    """Compare arguments with a function's annotations; nothing is converted.

    Parameters
    ----------
    function : callable
        Whose parameters are all annotated.
    arguments : dict
    what : str
        Named first in the message.

    Raises
    ------
    ModelError
        If an argument is unknown, missing, or of another type or size than its annotation says.
    """
    parameters = inspect.signature(function).parameters.values()
    fields = {p.name: (p.annotation, ... if p.default is p.empty else p.default) for p in parameters}
    try:
        create_model("Arguments", __config__=_STRICT, **fields).model_validate(arguments)
    except ValidationError as error:
        raise ModelError(f"{what}: {problems(error, fields)}") from error
