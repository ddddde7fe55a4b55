"""Run problems and methods under benchopt."""
from ..extras import require

require("bench", "benchopt", "pandas", "sklearn", "tqdm")
