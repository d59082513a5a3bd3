"""The names of `typing` that the block layer is written with. Importing `typing` itself takes 8 ms, a fifth of the time in which the
image tools start; type checkers see the real ones, at run time these do nothing but stand there."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Annotated as Annotated
    from typing import Any as Any
    from typing import ClassVar as ClassVar
    from typing import Generic as Generic
    from typing import NamedTuple as NamedTuple
    from typing import TypeVar as TypeVar
    from typing import dataclass_transform as dataclass_transform
    from typing import overload as overload
else:
    from collections import namedtuple

    class Subscripted(type):
        """`Name[...]` is `Name`."""

        def __getitem__(cls, item):
            return cls

    class Any(metaclass=Subscripted):
        pass

    class ClassVar(metaclass=Subscripted):
        pass

    class Generic:
        def __class_getitem__(cls, item):
            return cls

    class Annotated:
        """`Annotated[type, note, ...]` keeps the notes in `__metadata__`."""

        def __init__(self, notes):
            self.__metadata__ = notes

        def __class_getitem__(cls, item):
            return cls(item[1:])

    class TypeVar:
        def __init__(self, name, *constraints, bound=None):
            self.__name__ = name

    class TupleMaker(type):
        """A class whose base is `NamedTuple` becomes a named tuple of its annotated fields."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = list(body["__annotations__"])
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                if key not in ("__module__", "__qualname__"):
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=TupleMaker):
        pass

    def overload(function):
        return function

    def dataclass_transform(**_):
        return lambda cls: cls


__all__ = ["TYPE_CHECKING", "Annotated", "Any", "ClassVar", "Generic", "NamedTuple", "TypeVar", "dataclass_transform", "overload"]
