"""The verbs of the command `ecd`, each a thin mapping onto a public function; imports wait until one needs them."""
