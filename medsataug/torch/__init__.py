"""Feed PyTorch: cases in, augmented tensors out, the same whatever the workers.

`Dataset` gives items by number to a `torch.utils.data.DataLoader`, or in a plain loop; `collate`
makes a batch of them without copying it together; `Order` says which come when, and where a
stopped epoch goes on. `Stream` gives whole batches one after the other. `Loader` makes batches
ahead with threads of this process, for cases in memory: nothing is sent from process to process.

PyTorch is imported here, and by `inference.torch_network` when called; install it with
``medsataug[torch]``.
"""

from medsataug.feed import Case
from medsataug.torch.batch import collate
from medsataug.torch.dataset import Dataset
from medsataug.torch.loader import Loader
from medsataug.torch.order import Order
from medsataug.torch.stream import Stream

__all__ = ["Case", "Dataset", "Loader", "Order", "Stream", "collate"]
