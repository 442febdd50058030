"""How Accord is reached: Thrift between its own nodes, HTTP and the website for everybody else."""
