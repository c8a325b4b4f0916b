"""A process that holds trained models and has them answer, token by token.

asked       what it can be asked, in plain types
client      the server's end: starts it, hears it, gives up, starts it again
serving     its own end: reads requests, does one after the other
holding     loads models, and lets those go that were not asked for longest when memory is short
writing     chooses tokens and tells each one with its probability
comparing   proof that a tuned model is not its base
exporting, pushing     processes of their own that copy, merge or publish a model
"""
