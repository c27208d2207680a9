"""Pictures of densities: a plane of the grid, its atoms, and the colours of its values."""
