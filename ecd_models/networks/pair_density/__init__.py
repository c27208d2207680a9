"""The linear pair model: free atoms and what pairs of neighbours add, ridge regression without a network."""
