"""How good a model is: scores over records and the metrics drawn from them."""
