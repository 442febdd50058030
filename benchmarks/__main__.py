"""``python -m benchmarks``: all of them, one after the other."""

from benchmarks import compiles, echo, manager, million, store


def main() -> None:
    for module in (echo, compiles, store, manager, million):
        print(f"== {module.__name__}")
        module.main()


if __name__ == "__main__":
    main()
