"""From files of densities to a store: which files are meant, under which ids, and the conversion itself."""
