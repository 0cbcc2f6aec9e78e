"""What feeds share: items by number, and the order in which they come.

`medsataug.torch` and `medsataug.keras` stand on this; it needs neither of them.
"""

from medsataug.feed.items import Items
from medsataug.feed.order import batches, count_batches, numbers
from medsataug.given import Case

__all__ = ["Case", "Items", "batches", "count_batches", "numbers"]
