"""ChargE3Net and invChargE3Net: the network, its published weights, its compiled kernels."""
