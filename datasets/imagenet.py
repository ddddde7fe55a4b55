import torch
from benchopt import BaseDataset

from benchmark_shine.bench.dataset import loaded
from benchmark_shine.bench.networks import build
from benchmark_shine.checks import check_integer
from benchmark_shine.data.pictures import PictureFiles
from benchmark_shine.data.readers import some, two_folders


class Dataset(BaseDataset):
    """ImageNet (ILSVRC 2012), 1.28 million pictures, 1,000 classes.

    The paper's data set (figure 3, right), which its licence forbids to
    download for you: ``path`` names a folder with train/ and val/, in each
    one folder per class.  Pictures are decoded as batches ask for them.
    ``n_train`` and ``n_test`` keep a fixed random part; None in
    ``batch_size`` and what follows it is what the recipe says.
    """

    name = "imagenet"
    parameters = {
        "path": [None],
        "network": ["small"],
        "size": [224],
        "n_train, n_test": [(None, None)],
        "batch_size, epochs, unrolled_steps": [(None, None, None)],
        "device": ["cpu"],
        "seed": [0],
    }

    def get_data(self):
        return loaded(self._build)

    def _build(self):
        if self.path is None:
            raise ValueError(
                "imagenet: name the folder that has train/ and val/, "
                "-d \"imagenet[path='/data/imagenet']\""
            )
        check_integer("size", self.size, least=1)
        *parts, n_classes = two_folders(self.path, "train", "val")
        train, test = (
            PictureFiles(
                tuple(paths), torch.as_tensor(labels), n_classes, self.size
            )
            for paths, labels in (
                some(*part, n)
                for part, n in zip(parts, (self.n_train, self.n_test))
            )
        )
        return build(
            self.network, train, test, self.seed, self.device,
            batch_size=self.batch_size, epochs=self.epochs,
            unrolled_steps=self.unrolled_steps,
        )
