"""`python -m jaxrnn PROGRAM`: all programs under one name."""

if __name__ == "__main__":
    from jaxrnn.programs import console

    console()
