"""Decoders that run compiled functions on as many threads as torch may use."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecd_data.crystal import Floats
from ecd_models.kernels import Decoder
from ecd_models.kernels.images import Images

PIECE = 2048  # points that a thread takes at a time: few enough to balance the threads


def make_parallel_decoder(
    images: Images, outputs: int, space: Callable[[], Any], work: Callable[[Floats, Any, NDArray[np.float32]], None]
) -> Decoder:
    """A Decoder that distributes the points over several threads.

    Parameters
    ----------
    images : the atom images of the crystal.
    outputs : the number of outputs of the network.
    space : makes the working memory of a thread.
    work : a compiled function without the interpreter lock; work(points [p, 3] in Å, space, result [p, outputs]) sets
        the result.
    """

    def decode(frac_points: Floats) -> NDArray[np.float32]:
        points = images.points(frac_points)
        result = np.empty((len(points), outputs), np.float32)
        starts, lock = iter(range(0, len(points), PIECE)), Lock()

        def run() -> None:
            memory = space()
            while True:
                with lock:
                    start = next(starts, None)
                if start is None:
                    return
                work(points[start : start + PIECE], memory, result[start : start + PIECE])

        threads = min(torch.get_num_threads(), -(-len(points) // PIECE))
        if threads <= 1:
            run()
        else:
            with ThreadPoolExecutor(threads) as pool:
                for future in [pool.submit(run) for _ in range(threads)]:
                    future.result()
        return result[:, 0] if outputs == 1 else result

    return decode
