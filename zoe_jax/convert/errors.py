"""The error of everything that can be wrong with a checkpoint."""

import os

from zoe_jax.errors import ZoeJaxError

LONGEST_NAME = 120


def quoted(name: object) -> str:
    """A name out of a file, fit for a message: in quotes, cut, with control characters escaped.

    What a hostile file calls its tensors must not break the line, nor colour, clear or flood the terminal.
    """
    text = str(name)
    return f"'{_printable(text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + '…')}'"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class CheckpointError(ZoeJaxError):
    """A checkpoint that cannot be found, read, written or trusted.

    The message is one sentence on one line: the file, the tensor where there is one, what is wrong with it, and
    what would be right.

    Attributes:
        problem: what is wrong, without the place.
        file: the checkpoint file or folder.
        tensor: the tensor's name as the file has it.
    """

    def __init__(self, problem: str, *, file: str | os.PathLike[str] | None = None, tensor: str | None = None):
        self.problem, self.file, self.tensor = problem, file, tensor
        place = "" if file is None else f"{os.fspath(file)}: "
        subject = "" if tensor is None else f"tensor {quoted(tensor)} "
        super().__init__(_printable(place + subject + problem))
