"""The codec `ecd.fourier`: a periodic grid as the quantised plane waves of its symmetry stars, with a checked bound."""

from ecd_data.codec.encoding import BoundError, encode
from ecd_data.codec.payload import FourierPayload

__all__ = ["BoundError", "FourierPayload", "encode"]
