"""What really went wrong, out of Ray's wrapped errors."""

import re

_ANSI = re.compile(r"\x1b\[\d+m")
_EXCEPTION = re.compile(r"(?!ray\.)[\w.]*(Error|Exception|Exit|Interrupt|Timeout)\b.*")  # the last line of a traceback


def cause_line(error: BaseException) -> str:
    """The exception's own line at the end of the last traceback in the message, else the last line."""
    failures = getattr(error, "worker_failures", None)  # of a Ray Train worker group, by rank
    text = str(next(iter(failures.values()))) if failures else str(error)
    lines = [_ANSI.sub("", line).strip() for line in text.splitlines()]
    exceptions = [line for line in lines if _EXCEPTION.fullmatch(line)]
    return ([type(error).__name__, *filter(None, lines), *exceptions])[-1][:500]
