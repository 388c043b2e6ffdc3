"""Do one job and leave its files."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from autoreward.errors import MISSING, UserError
from autoreward.store.jobs import CaptionJob, EvaluateJob, NetworkJob, PlayJob, ProbeJob, TrainJob
from autoreward.store.survey import SurveyJob
from autoreward.trainer.inbox import watch

Job = Annotated[
    TrainJob | EvaluateJob | ProbeJob | PlayJob | NetworkJob | SurveyJob | CaptionJob,
    Field(discriminator="kind"),
]


def die_with_parent() -> None:
    """End this process when its parent dies.

    Linux sends a signal; elsewhere, and as well, the end of standard input ends the process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if not sys.stdin.isatty():
        threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Do the job that the first argument names, and return the exit code."""
    try:
        job = TypeAdapter[Job](Job).validate_json(Path(sys.argv[1]).read_bytes())
    except (IndexError, OSError, ValidationError) as error:
        print(
            f"a trainer takes one job file: python -m autoreward.trainer JOB.json ({error})",
            file=sys.stderr,
        )
        return 2
    die_with_parent()
    here = str(Path.cwd())
    if here not in sys.path:
        # A card may name a module in this directory. It comes last, so that no file here can take
        # a library's place (PYTHONSAFEPATH).
        sys.path.append(here)
    warnings.filterwarnings("ignore")
    try:
        if isinstance(job, TrainJob):
            from autoreward.trainer.train import train

            train(job)
        elif isinstance(job, EvaluateJob):
            from autoreward.trainer.evaluate import evaluate

            evaluate(job)
        elif isinstance(job, SurveyJob):
            from autoreward.trainer.survey.survey import survey

            survey(job)
        elif isinstance(job, CaptionJob):
            from autoreward.trainer.caption import caption

            caption(job)
        elif isinstance(job, PlayJob):
            from autoreward.trainer.play import play

            play(job)
        elif isinstance(job, NetworkJob):
            from autoreward.trainer.agent_export import to_onnx

            to_onnx(job)
        else:
            from autoreward.trainer.probe import probe

            probe(job)
    except UserError as error:
        print(error.message + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return MISSING
    except MemoryError:
        print("out of memory", file=sys.stderr)
        return MISSING
    return 0


if __name__ == "__main__":
    sys.exit(main())
