"""Studies: many runs under a protocol. `regimen tune` is the study of one strategy."""
