"""What recorded runs say about optimizers and strategies: numbers first, typed; text, JSON and a page draw them.

`read_runs(folder)` reads, `summarize(runs, question)` computes, `text`, `as_json` and `page` show. No torch.
"""
