"""``python -m benchmarks``: all of them, one after the other."""

from benchmarks import echo, store


def main() -> None:
    for module in (echo, store):
        print(f"== {module.__name__}")
        module.main()


if __name__ == "__main__":
    main()
