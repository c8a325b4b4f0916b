"""Architecture search: what a sampler, a space or a searcher is written with."""
