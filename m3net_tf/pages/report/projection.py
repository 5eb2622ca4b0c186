# SPDX-License-Identifier: Apache-2.0
"""Clips of all classes, and their projection onto a plane."""

import warnings

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]
FEWEST = 8
_COMPONENTS = 50  # to which the t-SNE paper first reduces wide data
_PERPLEXITY = 30.0


def spread_over_classes(labels: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int64]:
    """Indices of at most ``count`` clips, spread evenly over the sorted classes."""
    order = np.argsort(labels, kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return np.take(order, places)


def plane(values: Values, seed: int) -> Values:
    """t-SNE (van der Maaten and Hinton, 2008): (clips, any number) to (clips, 2).

    The same values and seed give the same points on any number of cores.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    components = min(_COMPONENTS, *values.shape)
    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    with threadpool_limits(1), warnings.catch_warnings():  # the same order of sums
        # Containers hide them; with one thread nothing depends on them.
        warnings.filterwarnings("ignore", "Could not find the number of physical cores")
        if values.shape[1] > components:
            values = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(
                values
            )
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
        points: Values = tsne.fit_transform(values)
    return points
