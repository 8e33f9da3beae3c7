"""Objects that neither `copy` nor `pickle` may take apart."""

from __future__ import annotations

from typing import ClassVar, NoReturn, SupportsIndex

from scheduler.errors import InputError


class NotCopied:
    """What holds a lock, memory that kernels know by address, or what was verified as it was made.

    A copy of it would be wrong without a word: its lock would be held by nobody or for ever, its addresses would be
    those of the original, and its decision ids would be given out twice.
    """

    _INSTEAD: ClassVar[str] = ""
    """What to do in place of a copy, for the message."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: `copy.copy`, `copy.deepcopy` and `pickle` all ask here.

        Raises
        ------
        InputError
            Always.
        """
        kind = type(self).__name__
        message = f"{kind}: expected to stay in its process as it is, found a copy or a pickle of it; {self._INSTEAD}"
        raise InputError(message)
