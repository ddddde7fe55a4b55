"""One page of everything in some result files; it opens without a network."""
from .page import write_page

__all__ = ["write_page"]
