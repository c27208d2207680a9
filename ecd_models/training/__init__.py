"""Training: the loop, the step, the data it draws, the folder that it keeps."""
