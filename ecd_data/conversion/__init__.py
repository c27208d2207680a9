"""The conversion of density files into a store: the files to read, their ids, and the conversion itself."""
