from sklearn.model_selection import train_test_split

from benchmark_shine.bench.dataset import named_path
from benchmark_shine.bench.networks import PictureDataset, check_network
from benchmark_shine.checks import check_integer, check_seed
from benchmark_shine.data.readers import (
    list_folder, read_pictures, some, two_folders,
)


class Dataset(PictureDataset):
    """Any folder of labelled pictures (JPEG or PNG), by its path.

    ``path`` names a folder with train/ and test/ (or val/), in each one
    folder per class; or a folder of class folders alone, of which a fifth of
    each class is kept for the test, at random by the seed.  Each picture is
    cut to the square in its middle and resized to ``size`` × ``size``; all
    are kept in memory.  ``n_train`` and ``n_test`` keep a fixed random part;
    ``network`` is dense, tiny or large; None in ``batch_size`` and what
    follows it is what the network's recipe says.
    """

    name = "pictures"
    parameters = {
        "path": [None],
        "network": ["dense"],
        "size": [16],
        "n_train, n_test": [(None, None)],
        "batch_size, epochs, unrolled_steps": [(64, 10, 0)],
        "jacobian_weight": [0.0],
        "width": [64],
        "contraction": [0.95],
        "device": ["cpu"],
        "seed": [0],
    }

    def sources(self):
        if self.path is None:
            raise ValueError(
                "pictures: name a folder <class>/*.jpg|png, or one with train/"
                " and test/, -d \"pictures[path='/data/mine']\""
            )
        check_network(self.network)
        check_integer("size", self.size, least=1)
        check_seed(self.seed)
        return tuple(
            (read_pictures(paths, self.size), labels)
            for paths, labels in self._parts(named_path(self.path))
        )

    def _parts(self, root):
        if not (root / "train").is_dir():
            return [list_folder(root)[:2]]
        test = "test" if (root / "test").is_dir() else "val"
        train, test, _ = two_folders(root, "train", test)
        return some(*train, self.n_train), some(*test, self.n_test)

    def build(self, train, test=None):
        if test is None:
            (x, y), n = train, (self.n_train, self.n_test)
            x, x_test, y, y_test = train_test_split(
                x, y, test_size=0.2, random_state=self.seed, stratify=y
            )
            train, test = some(x, y, n[0]), some(x_test, y_test, n[1])
        return super().build(train, test)
