"""The codec `ecd.fourier`, which compresses a periodic grid to quantised plane waves and checks the error.

Symmetry makes plane waves equivalent, so the codec stores one amplitude of each such set (a star). Superposed atoms
predict the amplitudes, and only the differences are stored. docs/format.md describes every byte.
"""

from ecd_data.codec.encoding import BoundError, encode
from ecd_data.codec.payload import FourierPayload

__all__ = ["BoundError", "FourierPayload", "encode"]
