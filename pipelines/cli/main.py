"""The command line: ``sigma VERB``.

Each verb builds its own parser, and imports what it needs when it is called: looking at shards
must not require the packages that make them.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NoReturn

from datagen.errors import UserError, os_error_line
from pipelines.cli import dataset_verbs, model_verbs, view_verbs
from pipelines.cli.arguments import summary
from pipelines.cli.interrupts import Interrupt, report_stop

VERBS: dict[str, Callable[[list[str]], int]] = {
    "plan": dataset_verbs.plan,
    "assets check": dataset_verbs.check_assets,
    "dataset": dataset_verbs.dataset,
    "status": dataset_verbs.status,
    "verify": dataset_verbs.verify,
    "pack": dataset_verbs.pack,
    "train": model_verbs.train,
    "sample": model_verbs.sample,
    "view": view_verbs.view,
    "inspect": view_verbs.inspect,
}

_GOES_ON = "what is finished is kept: run the same command to go on"
_KEPT = {"dataset": _GOES_ON, "train": _GOES_ON}
"""What an interrupted verb leaves, where it does not say so itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0, 1 for shards with problems, 2 for a mistake of
    the user's, 130 for an interrupted job."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["assets"]:
        words[:2] = [" ".join(words[:2])]
    if not words or words[0] in ("-h", "--help", "assets", "assets -h", "assets --help"):
        print(_overview())
        return 0
    if words == ["--version"]:
        print(f"sigma {version('sigma-set')}")
        return 0
    interrupt = Interrupt()
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    # Ray's own handler for crashes would answer a SIGTERM while Ray starts, by aborting.
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    # Arrow's bundled allocator has crashed in servers, whose threads come and go
    # (apache/arrow#50908); it is read when Arrow is loaded.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # Of packages that it could use and we do not.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("datagen").setLevel(logging.INFO)
    try:
        if words[0] not in VERBS:
            raise UserError(f"unknown verb {words[0]!r}, expected one of: {', '.join(VERBS)}")
        return VERBS[words[0]](words[1:])
    except KeyboardInterrupt as interruption:
        return report_stop(str(interruption) or _KEPT.get(words[0], ""))
    except (Exception, SystemExit) as error:
        # A library that an interrupt surprises may make any error of it: Ray, an import.
        if interrupt.received:
            return report_stop(_KEPT.get(words[0], ""))
        print(f"error: {_error_line(error)}", file=sys.stderr)
        return 2


def script() -> NoReturn:
    """``main`` as a program. One that did not end well leaves without goodbyes: Ray's threads may
    be anywhere, and have crashed the interpreter while it cleared up. A crash in a library's native
    code writes where Python was."""
    faulthandler.enable()
    code = main()
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _error_line(error: BaseException) -> str:
    """One line for the user. Errors that are no mistake of the user's pass through."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        # A disk that is full, a folder that is another's: nothing that we could mend or explain.
        return os_error_line(error)
    raise error


def _overview() -> str:
    lines = [f"  {name:14} {summary(verb)}" for name, verb in VERBS.items()]
    return "\n".join(["usage: sigma VERB ... (sigma VERB --help; sigma --version)", "", *lines])
