"""Instructions: requests in words, each with requirements that its answer has to meet. For measuring what else a model can do."""
