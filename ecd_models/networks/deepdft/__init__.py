"""DeepDFT: the network and its compiled kernels."""
