from benchmark_shine.bench.dataset import named_path
from benchmark_shine.bench.networks import PictureDataset, check_network
from benchmark_shine.checks import check_integer
from benchmark_shine.data.pictures import PictureFiles
from benchmark_shine.data.readers import CACHE, some, two_folders


class Dataset(PictureDataset):
    """ImageNet (ILSVRC 2012), 1.28 million pictures, 1,000 classes.

    This is the paper's data set (figure 3, right), which its licence forbids
    to download for you: ``path`` names a folder with train/ and val/, in each
    one folder per class.  Pictures are decoded as batches ask for them.
    Before the first run each is read once, to find damaged ones and to take
    the fingerprint; what has been checked is remembered.  ``n_train`` and
    ``n_test`` keep a fixed random part; None in ``batch_size`` and what
    follows it is what the recipe says.
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

    def sources(self):
        if self.path is None:
            raise ValueError(
                "imagenet: name the folder that has train/ and val/, "
                "-d \"imagenet[path='/data/imagenet']\""
            )
        check_network(self.network)
        check_integer("size", self.size, least=1)
        *parts, n_classes = two_folders(named_path(self.path), "train", "val")
        parts = [
            some(*part, n)
            for part, n in zip(parts, (self.n_train, self.n_test))
        ]
        if len(parts[0][1]) > 10_000:
            print("imagenet: looks for pictures to check; the first time it "
                  "reads all of them", flush=True)
        return tuple(
            PictureFiles.checked(
                *part, n_classes, self.size, CACHE / "checked"
            )
            for part in parts
        )

    def build(self, train, test):
        return self.with_network(train, test)
