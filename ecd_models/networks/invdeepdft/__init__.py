"""invDeepDFT: the network and its compiled kernels."""
