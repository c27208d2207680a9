"""Pictures of densities: planes of the grid and their colours."""
