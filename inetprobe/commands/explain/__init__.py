"""``inetprobe explain``: what the model says of a request (``command``), and of a rule (``rule_page``)."""
