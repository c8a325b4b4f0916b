"""Parts of a language model whose forward and backward go over memory as few times as they can; the numbers stay."""
