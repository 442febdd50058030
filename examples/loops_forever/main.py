"""Never ends. The processor-time limit does it."""

print("still going", flush=True)
while True:
    pass
