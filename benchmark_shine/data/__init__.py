"""Read tables, pictures and text, and split them."""
from ..extras import require

require("data", "PIL", "pooch", "scipy", "sklearn")
