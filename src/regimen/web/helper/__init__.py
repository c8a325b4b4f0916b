"""A process that has imported PyTorch and the plug-ins' machinery, and answers questions about them."""
