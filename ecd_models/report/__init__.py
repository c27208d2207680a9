"""Results as one HTML page: our tables beside the paper's, figures, and pictures of the worst predictions."""
