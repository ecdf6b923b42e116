"""The explorer: a run, or two, as a page on which one walks through latent space; as one file, or live."""
