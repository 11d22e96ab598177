"""Where each stage puts what it makes. dvc.yaml names the same places."""

from pathlib import Path

RESUME = Path(".resume")
FAILURES = Path(".failures")  # one file a failed stage, for the end of a run that keeps going
LOGS = Path(".logs")  # what each of several cells that run at once prints


def model_folder(key: str) -> Path:
    return Path("data/models") / key


def corpus_folder(key: str) -> Path:
    return Path("data/corpora") / key


def calibration_folder(key: str) -> Path:
    return Path("data/calibrations") / key


def artefact_folder(cell: str) -> Path:
    return Path("artefacts") / cell


def score_folder(cell: str) -> Path:
    return Path("scores") / cell


def result_folder(suite: str) -> Path:
    return Path("results") / suite
