"""Run methods of other libraries."""
from ..extras import require

require("rivals", "scipy", "sklearn", "threadpoolctl")
